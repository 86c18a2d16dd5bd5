// Ours without waiting, from one thread that is also the one that looks after the calls: `submit PORT CALLS-AT-ONCE
// CALLS` keeps so many calls of the multiply script under way on a queue without a thread. One at a time is submitted
// by rs_script_submit, more of them packed. Prints calls per second and microseconds of this process's CPU time per
// call.

#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

static rs_client *client;
static rs_script *multiply;
static rs_queue *queue;

static char *put(char *to, const void *bytes, size_t length) {
    memcpy(to, bytes, length);
    return to + length;
}

static char *put_number(char *to, uint32_t number) {
    return put(to, &number, sizeof number);
}

// A packed call; its form is that of rs_client_submit_packed.
static char *put_call(char *to, uint64_t tag) {
    const uint8_t item[] = {RS_PACKED_SCRIPT, 0};
    to = put(to, &tag, sizeof tag);
    to = put_number(to, 0);
    to = put(to, item, sizeof item);
    to = put_number(put_number(put_number(to, 0), 1), 1);
    to = put(put_number(to, 3), "foo", 3);
    return put(put_number(to, 1), "5", 1);
}

enum { PACKED_MAX = 64 };

static void submit(char *packed, long from, size_t count) {
    rs_error *err;
    if (count == 1) {
        const char *const keys[] = {"foo"}, *const args[] = {"5"};
        const size_t keylens[] = {3}, arglens[] = {1};
        check(rs_script_submit(multiply, client, 1, keys, keylens, 1, args, arglens, NULL, queue, (uint64_t)from, &err),
              &err);
        return;
    }
    char *end = packed;
    for (size_t i = 0; i < count; i++)
        end = put_call(end, (uint64_t)from + i);
    const rs_script *const scripts[] = {multiply};
    check(rs_client_submit_packed(client, 1, scripts, packed, (size_t)(end - packed), queue, &err), &err);
}

static void run(size_t at_once, long calls) {
    rs_error *err;
    char *packed = malloc(at_once * PACKED_MAX);
    rs_completion *done = calloc(at_once, sizeof *done);
    if (packed == NULL || done == NULL)
        exit(1);
    long sent = 0, ended = 0;
    for (size_t room = at_once; ended < calls;) {
        size_t count = calls - sent < (long)room ? (size_t)(calls - sent) : room;
        if (count > 0)
            submit(packed, sent, count);
        sent += (long)count;
        check(rs_queue_poll(queue, done, at_once, RS_FOREVER, &room, &err), &err);
        for (size_t i = 0; i < room; i++) {
            check(done[i].status, &done[i].error);
            if (rs_reply_integer(done[i].reply) != PRODUCT)
                abort();
            rs_reply_free(done[i].reply);
        }
        ended += (long)room;
    }
    free(done);
    free(packed);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT CALLS-AT-ONCE CALLS\n", argv[0]);
        return 2;
    }
    size_t at_once = (size_t)atol(argv[2]);
    long calls = atol(argv[3]);
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s", argv[1]);
    rs_error *err;
    check(rs_client_open(url, NULL, &client, &err), &err);
    const char *const set[] = {"SET", "foo", "2"};
    check(rs_client_command(client, 3, set, NULL, NULL, NULL, &err), &err);
    check(rs_script_register(client, MULTIPLY, strlen(MULTIPLY), NULL, &multiply, &err), &err);
    check(rs_queue_new(at_once, RS_QUEUE_NO_THREAD, &queue, &err), &err);
    // What only the first calls need is not measured.
    run(at_once, (long)at_once * 2);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(at_once, calls);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    rs_queue_free(queue);
    rs_script_free(multiply);
    rs_client_free(client);
}
