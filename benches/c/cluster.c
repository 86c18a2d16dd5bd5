// Ours on a cluster: `cluster URL KEYS call CALLERS CALLS` lets CALLERS threads on one client make CALLS calls of the
// multiply script, `cluster URL KEYS submit CALLS-AT-ONCE CALLS` has one thread keep so many calls under way, and
// `cluster URL KEYS pipeline SIZE CALLS` makes them in pipelines of SIZE. Keys, all of them at 2, come from the file
// KEYS, a key a line. Prints calls per second and microseconds of this process's CPU time per call.

#include <pthread.h>
#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

#define KEYS_MAX 16384
#define KEY_LENGTH 16

static struct key {
    char text[KEY_LENGTH];
    size_t length;
} keys[KEYS_MAX];
static size_t key_count;

static rs_client *client;
static rs_script *multiply;

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

static void check_product(const rs_reply *reply) {
    if (rs_reply_integer(reply) != PRODUCT)
        abort();
}

static void read_keys(const char *name) {
    FILE *file = fopen(name, "r");
    while (file != NULL && key_count < KEYS_MAX && fscanf(file, "%15s", keys[key_count].text) == 1) {
        keys[key_count].length = strlen(keys[key_count].text);
        key_count++;
    }
    if (key_count == 0) {
        fprintf(stderr, "no keys in %s\n", name);
        exit(1);
    }
    fclose(file);
}

struct caller {
    pthread_t thread;
    size_t first_key;
    long calls;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    for (long i = 0; i < caller->calls; i++) {
        const struct key *key = &keys[(caller->first_key + (size_t)i) % key_count];
        const char *const names[] = {key->text}, *const args[] = {"5"};
        const size_t keylens[] = {key->length}, arglens[] = {1};
        rs_reply *reply;
        rs_error *err;
        check(rs_script_call(multiply, client, 1, names, keylens, 1, args, arglens, &reply, &err), &err);
        check_product(reply);
        rs_reply_free(reply);
    }
    return NULL;
}

static void call_from(size_t threads, long calls) {
    struct caller *callers = calloc(threads, sizeof *callers);
    for (size_t i = 0; i < threads; i++) {
        callers[i] = (struct caller){.first_key = i * key_count / threads, .calls = calls / (long)threads};
        if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
            exit(1);
    }
    for (size_t i = 0; i < threads; i++)
        pthread_join(callers[i].thread, NULL);
    free(callers);
}

static char *put(char *to, const void *bytes, size_t length) {
    memcpy(to, bytes, length);
    return to + length;
}

static char *put_number(char *to, uint32_t number) {
    return put(to, &number, sizeof number);
}

// A packed call; its form is that of rs_client_submit_packed.
static char *put_call(char *to, uint64_t tag, const struct key *key) {
    const uint8_t item[] = {RS_PACKED_SCRIPT, 0};
    to = put(to, &tag, sizeof tag);
    to = put_number(to, 0);
    to = put(to, item, sizeof item);
    to = put_number(put_number(put_number(to, 0), 1), 1);
    to = put(put_number(to, (uint32_t)key->length), key->text, key->length);
    return put(put_number(to, 1), "5", 1);
}

enum { PACKED_MAX = 64 };

static void submit(size_t at_once, long calls) {
    rs_queue *queue;
    rs_error *err;
    check(rs_queue_new(at_once, &queue, &err), &err);
    char *packed = malloc(at_once * PACKED_MAX);
    rs_completion *done = calloc(at_once, sizeof *done);
    if (packed == NULL || done == NULL)
        exit(1);
    const rs_script *const scripts[] = {multiply};
    size_t next = 0, room = at_once;
    for (long under_way = 0, left = calls; left > 0 || under_way > 0;) {
        char *end = packed;
        for (; room > 0 && left > 0; room--, left--, under_way++) {
            end = put_call(end, next, &keys[next % key_count]);
            next++;
        }
        if (end != packed)
            check(rs_client_submit_packed(client, 1, scripts, packed, (size_t)(end - packed), queue, &err), &err);
        check(rs_queue_poll(queue, done, at_once, -1, &room, &err), &err);
        for (size_t i = 0; i < room; i++) {
            check(done[i].status, &done[i].error);
            check_product(done[i].reply);
            rs_reply_free(done[i].reply);
        }
        under_way -= (long)room;
    }
    free(done);
    free(packed);
    rs_queue_free(queue);
}

static void call_in_pipelines(size_t size, long calls) {
    rs_pipeline *pipeline;
    rs_error *err;
    check(rs_pipeline_new(client, 0, &pipeline, &err), &err);
    size_t next = 0;
    for (long left = calls; left > 0; left -= (long)size) {
        for (size_t i = 0; i < size; i++) {
            const struct key *key = &keys[next++ % key_count];
            const char *const names[] = {key->text}, *const args[] = {"5"};
            const size_t keylens[] = {key->length}, arglens[] = {1};
            check(rs_pipeline_script(pipeline, multiply, 1, names, keylens, 1, args, arglens, &err), &err);
        }
        rs_reply *replies;
        check(rs_pipeline_exec(pipeline, &replies, &err), &err);
        for (size_t i = 0; i < size; i++)
            check_product(rs_reply_element(replies, i));
        rs_reply_free(replies);
    }
    rs_pipeline_free(pipeline);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: %s URL KEYS call|submit|pipeline CALLERS|CALLS-AT-ONCE|SIZE CALLS\n", argv[0]);
        return 2;
    }
    void (*run)(size_t, long) = strcmp(argv[3], "call") == 0     ? call_from
                                : strcmp(argv[3], "submit") == 0 ? submit
                                                                 : call_in_pipelines;
    size_t count = (size_t)atol(argv[4]);
    long calls = atol(argv[5]);
    rs_error *err;
    read_keys(argv[2]);
    check(rs_client_open(argv[1], NULL, &client, &err), &err);
    check(rs_script_register(client, MULTIPLY, strlen(MULTIPLY), &multiply, &err), &err);
    // What only the first calls need, such as connecting to the nodes and loading the script, is not measured.
    run(count, 1000);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(count, calls);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    rs_script_free(multiply);
    rs_client_free(client);
}
