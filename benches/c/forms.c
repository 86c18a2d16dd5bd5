// One script in several forms, of ours: `forms PORT FORM call CALLS` makes CALLS calls one by one, `forms PORT FORM
// SIZE CALLS` in pipelines of SIZE. FORM is `script` (EVALSHA), `pinned` and `named` (a function of a library under a
// name with a digest, and as written), `once` (the script, each call exactly once), `once-function` or `hooked` (the
// script, with a hook that is told of each call and adds up how long they took). Prints calls per second and
// microseconds of this process's CPU time per call.

#include <rs_script.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

#define LIBRARY                                                                                                        \
    "#!lua name=bench\n"                                                                                               \
    "redis.register_function('multiply', function(KEYS, ARGV) " MULTIPLY " end)\n"

static rs_client *client;
static rs_library *library;
static rs_script *multiply;
static rs_pipeline *pipeline;

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

static void register_script(uint32_t flags) {
    rs_error *err;
    check(rs_script_register(client, MULTIPLY, strlen(MULTIPLY), RS_SCRIPT_OPTIONS(.flags = flags), &multiply, &err),
          &err);
}

static void register_function(uint32_t flags) {
    rs_error *err;
    check(rs_library_register(client, LIBRARY, strlen(LIBRARY), RS_LIBRARY_OPTIONS(.flags = flags), &library, &err),
          &err);
    check(rs_library_function(library, "multiply", strlen("multiply"), NULL, &multiply, &err), &err);
}

static const struct form {
    const char *name;
    void (*make)(uint32_t flags);
    uint32_t flags;
    bool is_hooked;
} forms[] = {
    {"script", register_script, 0, false},
    {"once", register_script, RS_SCRIPT_ONCE, false},
    {"pinned", register_function, 0, false},
    {"named", register_function, RS_LIBRARY_NAMED, false},
    {"once-function", register_function, RS_LIBRARY_ONCE, false},
    {"hooked", register_script, 0, true},
};

static uint64_t total_ns;

static void add_up(void *context, const rs_call_event *event) {
    *(uint64_t *)context += event->duration_ns;
}

static const char *const keys[] = {"foo"}, *const args[] = {"5"};
static const size_t keylens[] = {3}, arglens[] = {1};

static void call(void) {
    rs_reply *reply;
    rs_error *err;
    check(rs_script_call(multiply, client, 1, keys, keylens, 1, args, arglens, NULL, &reply, &err), &err);
    if (rs_reply_integer(reply) != PRODUCT)
        abort();
    rs_reply_free(reply);
}

static void call_in_pipeline(long size) {
    rs_reply *replies;
    rs_error *err;
    for (long i = 0; i < size; i++)
        check(rs_pipeline_script(pipeline, multiply, 1, keys, keylens, 1, args, arglens, NULL, &err), &err);
    check(rs_pipeline_exec(pipeline, NULL, &replies, &err), &err);
    for (long i = 0; i < size; i++) {
        if (rs_reply_integer(rs_reply_element(replies, (size_t)i)) != PRODUCT)
            abort();
    }
    rs_reply_free(replies);
}

// A size of 0 is one call after the other.
static void run(long size, long calls) {
    for (; calls > 0; calls -= size > 0 ? size : 1) {
        if (size > 0)
            call_in_pipeline(size);
        else
            call();
    }
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    const struct form *form = NULL;
    for (size_t i = 0; argc == 5 && i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(argv[2], forms[i].name) == 0)
            form = &forms[i];
    }
    if (form == NULL) {
        fprintf(stderr, "usage: %s PORT FORM call|SIZE CALLS\n", argv[0]);
        return 2;
    }
    long size = strcmp(argv[3], "call") == 0 ? 0 : atol(argv[3]), calls = atol(argv[4]);
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s", argv[1]);
    const char *const set[] = {"SET", "foo", "2"};
    rs_options *options = rs_options_new();
    rs_error *err;
    if (form->is_hooked)
        check(rs_options_set_call_hook(options, add_up, &total_ns, NULL, &err), &err);
    check(rs_client_open(url, options, &client, &err), &err);
    rs_options_free(options);
    check(rs_client_command(client, 3, set, NULL, NULL, NULL, &err), &err);
    check(rs_pipeline_new(client, 0, &pipeline, &err), &err);
    form->make(form->flags);
    // What the first call or pipeline alone needs, such as loading the script, is not measured.
    run(size, 1);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(size, calls);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    rs_pipeline_free(pipeline);
    rs_script_free(multiply);
    rs_library_free(library);
    rs_client_free(client);
    if (form->is_hooked != (total_ns > 0))
        abort();
}
