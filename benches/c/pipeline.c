// Measures pipelines: `pipeline PORT multiply|table SIZE CALLS` makes CALLS calls, SIZE of them a pipeline.
// Prints calls per second and microseconds of this process's CPU time per call.

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s PORT multiply|table SIZE CALLS\n", argv[0]);
        return 2;
    }
    void (*run)(struct client *, int) =
        strcmp(argv[2], "table") == 0 ? client_table_pipeline : client_multiply_pipeline;
    int size = atoi(argv[3]);
    long calls = atol(argv[4]);
    struct client *client = client_open(argv[1], 1);
    // What the first pipeline alone needs, such as loading the script, is not measured.
    run(client, size);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long left = calls; left > 0; left -= size)
        run(client, size);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    client_close(client);
}
