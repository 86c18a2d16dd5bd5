/* Throw-away Redis servers, started by fork and exec. */
#include "server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "check.h"

enum { SERVERS_MAX = 8, ATTEMPTS_MAX = 8 };

enum kind { SINGLE, NODE, SENTINEL };

struct server {
    pid_t pid; /* 0: the place is free */
    int port;
    char dir[64];
    char socket[80];
    char url[96];
    char tcp_url[48];
};

static server servers[SERVERS_MAX];
static pid_t owner; /* children of fork leave their parent's servers alone */

void pause_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static void stop_all(void) {
    if (getpid() != owner) return;
    for (int i = 0; i < SERVERS_MAX; i++)
        if (servers[i].pid != 0) server_stop(&servers[i]);
}

static int is_free(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    const int is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return is_free;
}

/* A port that nothing listens on, nor on the one 10,000 above, which a cluster's node needs as well. Both lie below
   the range that systems take outgoing connections' ports from. */
static int free_port(void) {
    enum { FIRST = 11000, COUNT = 10000 };
    static unsigned next; /* tests that run at the same time begin at different places */
    if (next == 0) next = (unsigned)getpid() * 127;
    for (int left = COUNT; left > 0; left--) {
        const int port = FIRST + (int)(next++ % COUNT);
        if (is_free(port) && is_free(port + COUNT)) return port;
    }
    FAIL("none of ten thousand ports is free");
}

/* Whether the server answers a PING on its socket. */
static int answers(const server *s) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char reply[7] = "";
    memcpy(address.sun_path, s->socket, strlen(s->socket) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    const int good = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && write(fd, "PING\r\n", 6) == 6 &&
                     read(fd, reply, sizeof reply) == 7 && memcmp(reply, "+PONG\r\n", 7) == 0;
    close(fd);
    return good;
}

static void run_server(const server *s, enum kind kind) {
    enum { ARGUMENTS_MAX = 32 };
    char port[8];
    const char *argv[ARGUMENTS_MAX] = {"redis-server"};
    size_t argc = 1;
    snprintf(port, sizeof port, "%d", s->port);
#define ADD(...)                                                                                                       \
    do {                                                                                                               \
        const char *const added[] = {__VA_ARGS__};                                                                     \
        memcpy(argv + argc, added, sizeof added);                                                                      \
        argc += sizeof added / sizeof *added;                                                                          \
    } while (0)
    if (kind == SENTINEL) ADD("sentinel.conf", "--sentinel");
    ADD("--port", port, "--bind", "127.0.0.1", "--unixsocket", s->socket, "--dir", s->dir);
    /* A script counts as busy, and can be killed, soon. Replicas are to follow at once. */
    if (kind != SENTINEL)
        ADD("--save", "", "--appendonly", "no", "--lua-time-limit", "50", "--repl-diskless-sync-delay", "0");
    if (kind == NODE) ADD("--cluster-enabled", "yes", "--cluster-node-timeout", "1500");
#undef ADD
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed takes its servers along */
#endif
    const int log = open("log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    /* A sentinel insists on a file that it can write. */
    close(open("sentinel.conf", O_WRONLY | O_CREAT, 0600));
    execvp(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "redis-server: %s\n", strerror(errno));
    _exit(127);
}

static int start(server *s, enum kind kind) {
    s->port = free_port();
    snprintf(s->tcp_url, sizeof s->tcp_url, "redis://127.0.0.1:%d", s->port);
    s->pid = fork();
    CHECK(s->pid >= 0);
    if (s->pid == 0) {
        if (chdir(s->dir) != 0) _exit(127);
        run_server(s, kind);
    }
    for (int left = 30000; left > 0; left--) {
        if (answers(s)) return 1;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) return 0; /* somebody took the port, most likely */
        pause_ms(1);
    }
    FAIL("redis-server does not answer; its log is in %s", s->dir);
}

static server *start_somewhere(enum kind kind) {
    server *s = servers;
    while (s->pid != 0) CHECK(++s < servers + SERVERS_MAX);
    if (owner == 0) {
        owner = getpid();
        CHECK(atexit(stop_all) == 0);
    }
    /* Not $TMPDIR, which may be too long for a socket's path. */
    snprintf(s->dir, sizeof s->dir, "/tmp/rs_script-test-XXXXXX");
    CHECK(mkdtemp(s->dir) != NULL);
    snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
    snprintf(s->url, sizeof s->url, "unix://%s", s->socket);
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++)
        if (start(s, kind)) return s;
    FAIL("redis-server does not start; its log is in %s", s->dir);
}

server *server_start(void) { return start_somewhere(SINGLE); }

server *server_start_node(void) { return start_somewhere(NODE); }

server *server_start_sentinel(void) { return start_somewhere(SENTINEL); }

const char *server_url(const server *s) { return s->url; }

const char *server_tcp_url(const server *s) { return s->tcp_url; }

int server_port(const server *s) { return s->port; }

pid_t server_pid(const server *s) { return s->pid; }

static void remove_directory(const char *path) {
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(path);
}

void server_stop(server *s) {
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {}
    remove_directory(s->dir);
    s->pid = 0;
}

rs_client *open_client(const char *url) {
    enum { LONG_MS = 60000 };
    rs_client *client = NULL;
    rs_options *options = rs_options_new();
    CHECK(options != NULL);
    CHECK_OK(rs_options_set_call_timeout_ms(options, LONG_MS, &err));
    CHECK_OK(rs_client_open(url, options, &client, &err));
    rs_options_free(options);
    return client;
}

static rs_reply *command_of(rs_client *client, va_list words) {
    enum { WORDS_MAX = 16 };
    const char *argv[WORDS_MAX];
    size_t argc = 0;
    rs_reply *reply = NULL;
    for (const char *word = va_arg(words, const char *); word != NULL; word = va_arg(words, const char *)) {
        CHECK(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    CHECK_OK(rs_client_command(client, argc, argv, NULL, NULL, &reply, &err));
    return reply;
}

rs_reply *command(rs_client *client, ...) {
    va_list words;
    va_start(words, client);
    rs_reply *reply = command_of(client, words);
    va_end(words);
    return reply;
}

void do_command(rs_client *client, ...) {
    va_list words;
    va_start(words, client);
    rs_reply_free(command_of(client, words));
    va_end(words);
}

uint64_t stat_of(rs_client *client, size_t which) {
    uint64_t values[RS_STAT_COUNT];
    CHECK_INT(rs_client_stats(client, values, RS_STAT_COUNT), RS_STAT_COUNT);
    return values[which];
}
