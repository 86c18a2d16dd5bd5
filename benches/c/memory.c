// Measures memory: `memory idle PORT CLIENTS` prints the KiB that one more idle client adds to the resident size,
// `memory calls PORT CALLS` the resident size in KiB after a tenth of the calls and after all of them.

#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client.h"

static double resident(void) {
#ifdef __linux__
    // Not /proc/self/statm: its counters lag behind by some hundred KiB.
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    double kib = 0;
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "Rss: %lf", &kib);
    if (file != NULL)
        fclose(file);
    return kib;
#else
    // The highest so far, in bytes on macOS.
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
#endif
}

static void call(struct client *client, long calls) {
    for (; calls > 0; calls--)
        client_multiply(client, 0);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s idle PORT CLIENTS | calls PORT CALLS\n", argv[0]);
        return 2;
    }
    const char *port = argv[2];
    long number = atol(argv[3]);
    struct client *first = client_open(port, 1);
    if (strcmp(argv[1], "idle") == 0) {
        struct client **clients = calloc((size_t)number, sizeof *clients);
        memset(clients, 1, (size_t)number * sizeof *clients);
        double before = resident();
        for (long i = 0; i < number; i++)
            clients[i] = client_open(port, 1);
        printf("%.1f\n", (resident() - before) / (double)number);
        for (long i = 0; i < number; i++)
            client_close(clients[i]);
        free(clients);
    } else {
        call(first, number / 10);
        double before = resident();
        call(first, number - number / 10);
        printf("%.0f %.0f\n", before, resident());
    }
    client_close(first);
}
