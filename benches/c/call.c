// Measures calls: `call PORT THREADS CALLS` lets each thread make CALLS calls. Prints calls per second and
// microseconds of this process's CPU time per call.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

struct caller {
    pthread_t thread;
    struct client *client;
    int number;
    long calls;
};

static void *run(void *argument) {
    struct caller *caller = argument;
    for (long left = caller->calls; left > 0; left--)
        client_multiply(caller->client, caller->number);
    return NULL;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT THREADS CALLS\n", argv[0]);
        return 2;
    }
    int threads = atoi(argv[2]);
    long calls = atol(argv[3]);
    struct client *client = client_open(argv[1], threads);
    struct caller *callers = calloc((size_t)threads, sizeof *callers);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < threads; i++) {
        callers[i] = (struct caller){.client = client, .number = i, .calls = calls};
        if (threads == 1)
            run(&callers[i]);
        else if (pthread_create(&callers[i].thread, NULL, run, &callers[i]) != 0)
            return 1;
    }
    for (int i = 0; threads > 1 && i < threads; i++)
        pthread_join(callers[i].thread, NULL);
    double made = (double)calls * threads;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", made / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / made);
    free(callers);
    client_close(client);
}
