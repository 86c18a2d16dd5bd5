// Ours with calls that wait: `waiting PORT blocking CALLS` submits so many BLPOPs of a second at once, at default
// options, and prints the seconds until all are answered, the threads that the library had at most, and how many came
// back with an error. `waiting PORT cancel CALLS` submits so many script calls to a server that is told to pause,
// calls each of them off by its tag, and prints the seconds that this takes.

#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"

static rs_client *client;
static rs_queue *queue;
static rs_completion *done;
static size_t calls;

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

static double now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// The threads of this process but for this one.
static int other_threads(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    int threads = 0;
    while (status != NULL && fgets(line, sizeof line, status) != NULL && sscanf(line, "Threads: %d", &threads) != 1) {
    }
    if (status != NULL)
        fclose(status);
    return threads - 1;
}

// Takes `calls` completions out; the number of those that have failed. `*threads`: the most that were seen, if it is
// of interest.
static size_t take_all(int *threads) {
    size_t failed = 0, count;
    rs_error *err;
    for (size_t left = calls; left > 0; left -= count) {
        check(rs_queue_poll(queue, done, left, threads != NULL ? 20 : RS_FOREVER, &count, &err), &err);
        if (threads != NULL && other_threads() > *threads)
            *threads = other_threads();
        for (size_t i = 0; i < count; i++) {
            failed += done[i].status != RS_OK;
            rs_reply_free(done[i].reply);
            rs_error_free(done[i].error);
        }
    }
    return failed;
}

static void blocking(void) {
    rs_error *err;
    int threads = 0;
    double start = now();
    for (size_t i = 0; i < calls; i++) {
        char key[32];
        snprintf(key, sizeof key, "nothing:%zu", i);
        const char *const words[] = {"BLPOP", key, "1"};
        check(rs_client_submit(client, 3, words, NULL, NULL, queue, i, &err), &err);
    }
    size_t failed = take_all(&threads);
    printf("%.3f %d %zu\n", now() - start, threads, failed);
}

static void cancel(void) {
    rs_error *err;
    rs_script *multiply;
    check(rs_script_register(client, MULTIPLY, strlen(MULTIPLY), NULL, &multiply, &err), &err);
    const char *const pause[] = {"CLIENT", "PAUSE", "2000", "ALL"};
    check(rs_client_command(client, 4, pause, NULL, NULL, NULL, &err), &err);
    for (size_t i = 0; i < calls; i++) {
        const char *const keys[] = {"foo"}, *const args[] = {"5"};
        check(rs_script_submit(multiply, client, 1, keys, NULL, 1, args, NULL, NULL, queue, i, &err), &err);
    }
    double start = now();
    for (size_t i = 0; i < calls; i++) {
        size_t count;
        check(rs_client_cancel(client, queue, i, &count, &err), &err);
        if (count != 1) {
            fprintf(stderr, "call %zu was over before it was called off\n", i);
            exit(1);
        }
    }
    double took = now() - start;
    if (take_all(NULL) != calls)
        abort();
    printf("%.3f\n", took);
    rs_script_free(multiply);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT blocking|cancel CALLS\n", argv[0]);
        return 2;
    }
    calls = (size_t)atol(argv[3]);
    done = calloc(calls, sizeof *done);
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s", argv[1]);
    rs_error *err;
    check(rs_client_open(url, NULL, &client, &err), &err);
    check(rs_queue_new(calls, 0, &queue, &err), &err);
    strcmp(argv[2], "blocking") == 0 ? blocking() : cancel();
    rs_queue_free(queue);
    rs_client_free(client);
    free(done);
}
