/* Runs a program against throw-away servers: `with_server [--expect OUTPUT] SERVERS PROGRAM ARGUMENT...`

   URL1, URL2, ... among the arguments stand for the servers' URLs; each also comes as an environment variable
   RS_SCRIPT_URL1, ... With `cluster` for SERVERS there is a cluster of three primaries, whose URL is CLUSTER. The
   program must exit with 0 and, with --expect, print exactly that and a newline. */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cluster.h"
#include "server.h"

static void replace(char **arguments, const char *mark, const char *url) {
    for (; *arguments != NULL; arguments++)
        if (strcmp(*arguments, mark) == 0) *arguments = (char *)url;
}

int main(int argc, char **argv) {
    const char *expected = NULL;
    char output[4096];
    size_t len = 0;
    int out[2], status = 0, first = 1;
    if (argc > 2 && strcmp(argv[1], "--expect") == 0) {
        expected = argv[2];
        first = 3;
    }
    CHECK(argc > first + 1);
    const bool clustered = strcmp(argv[first], "cluster") == 0;
    const int servers = clustered ? 0 : atoi(argv[first]);
    cluster three;
    CHECK(clustered || (servers >= 1 && servers <= 8));
    char **const program = argv + first + 1;
    for (int i = 1; i <= servers; i++) {
        char name[32], *const mark = name + strlen("RS_SCRIPT_");
        server *const s = server_start();
        const char *url = i % 2 == 1 ? server_url(s) : server_tcp_url(s);
        snprintf(name, sizeof name, "RS_SCRIPT_URL%d", i);
        CHECK(setenv(name, url, 1) == 0);
        replace(program, mark, url);
    }
    if (clustered) {
        three = cluster_start();
        replace(program, "CLUSTER", three.url);
    }
    CHECK(pipe(out) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (expected != NULL) dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execvp(program[0], program);
        fprintf(stderr, "%s: %s\n", program[0], strerror(errno));
        _exit(127);
    }
    close(out[1]);
    for (ssize_t got; (got = read(out[0], output + len, sizeof output - 1 - len)) > 0;) len += (size_t)got;
    output[len] = '\0';
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("%s ended with wait status %d; it printed: %s", program[0], status, output);
    if (expected != NULL) {
        if (len > 0 && output[len - 1] == '\n') output[len - 1] = '\0';
        CHECK_TEXT(output, expected);
    }
}
