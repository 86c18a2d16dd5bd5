// Ours on a cluster: `cluster URL KEYS call CALLERS CALLS` lets CALLERS threads on one client make CALLS calls of the
// multiply script, `cluster URL KEYS submit CALLS-AT-ONCE CALLS` has one thread keep so many calls under way (with
// `submit-ro` read-only ones, `submit-replica` the same on replicas, `submit-pipelines` pipelines of 10 calls), and
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
        check(rs_script_call(multiply, client, 1, names, keylens, 1, args, arglens, NULL, &reply, &err), &err);
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

// A call as an item of a packed one; its form is that of rs_client_submit_packed.
static char *put_item(char *to, uint8_t flags, const struct key *key) {
    const uint8_t item[] = {RS_PACKED_SCRIPT, flags};
    to = put(to, item, sizeof item);
    to = put_number(put_number(put_number(to, 0), 1), 1);
    to = put(put_number(to, (uint32_t)key->length), key->text, key->length);
    return put(put_number(to, 1), "5", 1);
}

enum { IN_PIPELINE = 10, ITEM_MAX = 64 };

// A packed call or, of more than one item, a pipeline of them.
static char *put_call(char *to, uint64_t tag, size_t items, uint8_t flags, size_t next) {
    to = put_number(put(to, &tag, sizeof tag), 0);
    if (items > 1) {
        const uint8_t pipeline[] = {RS_PACKED_PIPELINE, 0};
        to = put_number(put(to, pipeline, sizeof pipeline), (uint32_t)items);
    }
    for (size_t i = 0; i < items; i++)
        to = put_item(to, flags, &keys[(next + i) % key_count]);
    return to;
}

// Keeps `at_once` calls or pipelines of `items` items under way.
static void submit_items(size_t at_once, long calls, size_t items, uint8_t flags) {
    rs_queue *queue;
    rs_error *err;
    check(rs_queue_new(at_once, 0, &queue, &err), &err);
    char *packed = malloc(at_once * (items + 1) * ITEM_MAX);
    rs_completion *done = calloc(at_once, sizeof *done);
    if (packed == NULL || done == NULL)
        exit(1);
    const rs_script *const scripts[] = {multiply};
    size_t next = 0, room = at_once;
    for (long under_way = 0, left = calls / (long)items; left > 0 || under_way > 0;) {
        char *end = packed;
        for (; room > 0 && left > 0; room--, left--, under_way++) {
            end = put_call(end, next, items, flags, next);
            next += items;
        }
        if (end != packed)
            check(rs_client_submit_packed(client, 1, scripts, packed, (size_t)(end - packed), queue, &err), &err);
        check(rs_queue_poll(queue, done, at_once, RS_FOREVER, &room, &err), &err);
        for (size_t i = 0; i < room; i++) {
            check(done[i].status, &done[i].error);
            if (items == 1)
                check_product(done[i].reply);
            for (size_t item = 0; items > 1 && item < items; item++)
                check_product(rs_reply_element(done[i].reply, item));
            rs_reply_free(done[i].reply);
        }
        under_way -= (long)room;
    }
    free(done);
    free(packed);
    rs_queue_free(queue);
}

static void submit(size_t at_once, long calls) {
    submit_items(at_once, calls, 1, 0);
}

static void submit_read_only(size_t at_once, long calls) {
    submit_items(at_once, calls, 1, RS_PACKED_READ_ONLY);
}

static void submit_to_replicas(size_t at_once, long calls) {
    rs_client *primaries = client;
    rs_error *err;
    check(rs_client_with(primaries, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA), &client, &err), &err);
    submit_read_only(at_once, calls);
    rs_client_free(client);
    client = primaries;
}

static void submit_pipelines(size_t at_once, long calls) {
    submit_items(at_once, calls, IN_PIPELINE, 0);
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
            check(rs_pipeline_script(pipeline, multiply, 1, names, keylens, 1, args, arglens, NULL, &err), &err);
        }
        rs_reply *replies;
        check(rs_pipeline_exec(pipeline, NULL, &replies, &err), &err);
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

static const struct mode {
    const char *name;
    void (*run)(size_t, long);
} modes[] = {
    {"call", call_from},
    {"submit", submit},
    {"submit-ro", submit_read_only},
    {"submit-replica", submit_to_replicas},
    {"submit-pipelines", submit_pipelines},
    {"pipeline", call_in_pipelines},
};

int main(int argc, char **argv) {
    void (*run)(size_t, long) = NULL;
    for (size_t i = 0; argc == 6 && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(argv[3], modes[i].name) == 0)
            run = modes[i].run;
    }
    if (run == NULL) {
        fprintf(stderr, "usage: %s URL KEYS MODE CALLERS|CALLS-AT-ONCE|SIZE CALLS\n", argv[0]);
        return 2;
    }
    size_t count = (size_t)atol(argv[4]);
    long calls = atol(argv[5]);
    rs_error *err;
    read_keys(argv[2]);
    check(rs_client_open(argv[1], NULL, &client, &err), &err);
    check(rs_script_register(client, MULTIPLY, strlen(MULTIPLY), NULL, &multiply, &err), &err);
    // What only the first calls need, such as connecting to the nodes and loading the script, is not measured.
    run(count, count > 100 ? 10 * (long)count : 1000);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(count, calls);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    rs_script_free(multiply);
    rs_client_free(client);
}
