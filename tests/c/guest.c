/* The library's threads in somebody's process: they take no signals, they are gone when the client has been freed,
   and so is its log callback. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/server.h"

enum { LONG_MS = 600000 }; /* beyond the time that a test may take: what waits for it, hangs */

static server *redis;
static const char *const ping[] = {"PING"};

/* ---- In place of the system's: threads that cannot be started, and look-ups that hang. ---- */

static atomic_bool no_threads, no_answer;
static atomic_int no_threads_but;
static sem_t asked, answer;
static void look_at_signals(void);

/* POSIX lets a data pointer of dlsym be a function's; ISO C has no word for it. */
static void next_one(const char *name, void *place) {
    void *const symbol = dlsym(RTLD_NEXT, name);
    CHECK(symbol != NULL);
    memcpy(place, &symbol, sizeof symbol);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    next_one("pthread_create", &next);
    return no_threads && no_threads_but-- <= 0 ? EAGAIN : next(thread, attributes, body, argument);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    next_one("getaddrinfo", &next);
    look_at_signals();
    if (no_answer) {
        CHECK(sem_post(&asked) == 0);
        CHECK(sem_wait(&answer) == 0);
    }
    return next(host, service, hints, found);
}

/* ---- Signals ---- */

static atomic_int threads_seen;

/* On a thread of the library's: all are blocked but those for faults of its own. */
static void look_at_signals(void) {
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
    for (int signal = 1; signal < 32; signal++) {
        int is_fault = 0;
        for (size_t i = 0; i < sizeof own_faults / sizeof *own_faults; i++) is_fault |= own_faults[i] == signal;
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        if (sigismember(&blocked, signal) == is_fault) FAIL("signal %d is%s blocked", signal, is_fault ? "" : " not");
    }
    threads_seen++;
}

static pthread_t host;

static void look_from_the_log(void *context, const rs_event *event) {
    (void)context, (void)event;
    if (!pthread_equal(pthread_self(), host)) look_at_signals();
}

static void take(rs_queue *queue, rs_status expected) {
    rs_completion completion;
    size_t count = 0;
    CHECK_OK(rs_queue_poll(queue, &completion, 1, 60000, &count, &err));
    CHECK_INT(count, 1);
    if (completion.status != expected)
        FAIL("%s: %s", rs_status_name(completion.status), rs_error_message(completion.error));
    rs_reply_free(completion.reply);
    rs_error_free(completion.error);
}

/* A client that has every kind of thread: one that looks up its host, one that reads, one that connects and one that
   waits. */
static void no_thread_takes_signals_of_the_hosts(void) {
    enum { KINDS = 2 }; /* those that this program's functions run on */
    static const int sent[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD, SIGPROF};
    const char *wait[] = {"BLPOP", "nobody's", "0"};
    char url[64];
    sigset_t all, before, pending;
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    rs_queue *queue = NULL;
    host = pthread_self();
    snprintf(url, sizeof url, "redis://localhost:%d", server_port(redis));
    CHECK_OK(rs_options_set_log(options, look_from_the_log, NULL, NULL, &err));
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_client_open(url, options, &client, &err));
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    CHECK_OK(rs_client_submit(client, 1, ping, NULL, NULL, queue, 1, &err));
    take(queue, RS_OK);
    CHECK_OK(rs_client_submit(client, 3, wait, NULL, NULL, queue, 2, &err));
    WAIT_UNTIL(stat_of(client, RS_STAT_IN_FLIGHT) == 1);
    CHECK(threads_seen >= KINDS);
    /* This thread's own mask is what it was, and as it is no thread takes what this one blocks: it would end the
       process. */
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &all) == 0 && !sigismember(&all, SIGUSR1));
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        int got = 0;
        sigset_t one;
        CHECK(kill(getpid(), sent[i]) == 0);
        CHECK(sigpending(&pending) == 0 && sigismember(&pending, sent[i]));
        sigemptyset(&one);
        sigaddset(&one, sent[i]);
        CHECK(sigwait(&one, &got) == 0 && got == sent[i]);
    }
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    rs_client_free(client);
    take(queue, RS_ERR_INDETERMINATE);
    rs_queue_free(queue);
    rs_options_free(options);
}

/* ---- Freeing ---- */

typedef struct {
    atomic_bool over;
    atomic_int told, freed;
    rs_client *to_free;
} listener;

static void hear(void *context, const rs_event *event) {
    listener *l = context;
    (void)event;
    CHECK(!l->over);
    l->told++;
    if (l->to_free != NULL) {
        rs_client *const client = l->to_free;
        l->to_free = NULL;
        rs_client_free(client);
        l->over = true;
    }
}

static void forget(void *context) { ((listener *)context)->freed++; }

/* A client that a server is still to be found for, with a log. */
static rs_client *lazy_client(const char *url, listener *l) {
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_OK(rs_options_set_log(options, hear, l, forget, &err));
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, LONG_MS, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, LONG_MS, &err));
    CHECK_OK(rs_options_set_reconnect_backoff_ms(options, 1, 1, &err));
    CHECK_OK(rs_options_set_reconnect_attempts(options, 0, &err));
    CHECK_OK(rs_client_open(url, options, &client, &err));
    rs_options_free(options);
    return client;
}

static rs_queue *submit_ping(rs_client *client) {
    rs_queue *queue = NULL;
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    CHECK_OK(rs_client_submit(client, 1, ping, NULL, NULL, queue, 1, &err));
    return queue;
}

/* A call that had not been sent when its client was freed has its completion by then, and nobody waits. */
static void is_completed(rs_queue *queue, rs_status expected) {
    CHECK_INT(rs_queue_len(queue), 1);
    take(queue, expected);
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
}

/* At any moment of a worker's that connects again and again. */
static void the_log_ends_with_the_client(void) {
    const int rounds = often(300, 40);
    for (int i = 0; i < rounds; i++) {
        static listener l;
        memset(&l, 0, sizeof l);
        rs_client *client = lazy_client("redis://127.0.0.1:1", &l);
        rs_queue *queue = submit_ping(client);
        for (int pace = 0; pace < i; pace++) sched_yield();
        rs_client_free(client);
        l.over = true;
        CHECK_INT(l.freed, 1);
        is_completed(queue, RS_ERR_CLOSED);
    }
}

static void freed_in_the_log_callback(void) {
    static listener l;
    rs_client *client = lazy_client("redis://127.0.0.1:1", &l);
    l.to_free = client;
    rs_queue *queue = submit_ping(client);
    take(queue, RS_ERR_CLOSED);
    WAIT_UNTIL(l.freed == 1);
    CHECK_INT(l.told, 1);
    rs_queue_free(queue);
}

/* On the thread of a call that looks at the client still: it is closed, and its memory stays. */
static void freed_in_the_log_callback_of_a_call(void) {
    static listener l;
    static rs_client *client; /* found by those who look for leaks */
    client = lazy_client("redis://127.0.0.1:1", &l);
    l.to_free = client;
    const rs_status status = rs_client_command(client, 1, ping, NULL, NULL, NULL, NULL);
    CHECK(status == RS_ERR_CONNECT || status == RS_ERR_CLOSED);
    CHECK_INT(l.told, 1);
}

static void free_client(void *context, const rs_completion *completion) {
    CHECK_INT(completion->status, RS_OK);
    rs_reply_free(completion->reply);
    rs_client_free(context);
}

static void freed_in_a_completion(void) {
    rs_client *client = open_client(server_url(redis));
    rs_queue *queue = submit_ping(client);
    size_t count = 0;
    CHECK_OK(rs_queue_dispatch(queue, 1, 60000, free_client, client, &count, &err));
    CHECK_INT(count, 1);
    rs_queue_free(queue);
}

/* ---- Freeing while a worker waits for a server, for ten minutes if nobody told it. ---- */

static int listener_at(char *url, size_t size, int backlog) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, len) == 0 && listen(fd, backlog) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    snprintf(url, size, "redis://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

static void freed_during_a_handshake(void) {
    static listener l;
    char url[64];
    const int fd = listener_at(url, sizeof url, 8);
    rs_client *client = lazy_client(url, &l);
    rs_queue *queue = submit_ping(client);
    const int peer = accept(fd, NULL, NULL);
    CHECK(peer >= 0);
    rs_client_free(client);
    is_completed(queue, RS_ERR_CLOSED);
    CHECK(l.told == 0 && l.freed == 1);
    close(peer);
    close(fd);
}

/* The server's system leaves connects without an answer once its queue is full. */
static void freed_during_a_connect(void) {
    enum { PEERS = 8 };
    static listener l;
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    char url[64];
    int peers[PEERS];
    const int fd = listener_at(url, sizeof url, 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(peers[i] >= 0);
        CHECK(connect(peers[i], (const struct sockaddr *)&address, len) == 0 || errno == EINPROGRESS);
    }
    rs_client *client = lazy_client(url, &l);
    rs_queue *queue = submit_ping(client);
    rs_client_free(client);
    is_completed(queue, RS_ERR_CLOSED);
    CHECK(l.told == 0 && l.freed == 1);
    for (int i = 0; i < PEERS; i++) close(peers[i]);
    close(fd);
}

static void freed_during_a_look_up(void) {
    static listener l;
    rs_client *client = lazy_client("redis://localhost:1", &l);
    no_answer = true;
    rs_queue *queue = submit_ping(client);
    CHECK(sem_wait(&asked) == 0);
    no_answer = false;
    rs_client_free(client);
    is_completed(queue, RS_ERR_CLOSED);
    CHECK(l.told == 0 && l.freed == 1);
    CHECK(sem_post(&answer) == 0); /* it goes on without anybody */
}

static void connections_that_are_made_at_once_look_their_host_up_once(void) {
    enum { MANY = 20 };
    static listener l;
    const char *wait[] = {"BLPOP", "list", "0"};
    char url[64];
    rs_client *other = open_client(server_url(redis));
    rs_queue *queue = NULL;
    snprintf(url, sizeof url, "redis://localhost:%d", server_port(redis));
    rs_client *client = lazy_client(url, &l);
    CHECK_OK(rs_queue_new(MANY, 0, &queue, &err));
    no_answer = true;
    for (int i = 0; i < MANY; i++) CHECK_OK(rs_client_submit(client, 3, wait, NULL, NULL, queue, 1, &err));
    CHECK(sem_wait(&asked) == 0 && sem_post(&answer) == 0);
    for (int i = 0; i < MANY; i++) do_command(other, "RPUSH", "list", "x", NULL);
    for (int i = 0; i < MANY; i++) take(queue, RS_OK);
    no_answer = false;
    CHECK(sem_trywait(&asked) != 0);
    rs_client_free(client);
    rs_client_free(other);
    rs_queue_free(queue);
}

/* ---- Programs that are started meanwhile ---- */

static const char *this_program;

/* The sockets that a program inherits which is started now, as its exit status. */
static int inherited(void) {
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl(this_program, this_program, "sockets", (char *)NULL);
        _exit(UCHAR_MAX);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int sockets_here(void) {
    enum { MOST = 64 };
    struct stat about;
    int count = 0;
    for (int fd = 0; fd < MOST; fd++) count += fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode);
    return count;
}

static atomic_bool made_enough;

static void *make_on_and_on(void *context) {
    while (!made_enough) {
        rs_queue *queue = NULL;
        CHECK_OK(rs_queue_new(1, RS_QUEUE_NO_THREAD, &queue, &err));
        rs_queue_free(queue);
        rs_client_free(open_client(server_url(redis)));
    }
    return context;
}

/* At any moment at which a descriptor is made. */
static void programs_inherit_nothing(void) {
    const int before = inherited(), programs = often(200, 20);
    pthread_t thread;
    CHECK(before != UCHAR_MAX);
    CHECK(pthread_create(&thread, NULL, make_on_and_on, NULL) == 0);
    for (int i = 0; i < programs; i++) CHECK_INT(inherited(), before);
    made_enough = true;
    CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- No threads left ---- */

static void a_thread_that_cannot_be_started_is_an_error(void) {
    rs_client *client = open_client(server_url(redis)), *other = NULL;
    rs_queue *queue = NULL;
    static listener l;
    rs_client *lazy = lazy_client(server_url(redis), &l);
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    no_threads = true;
    CHECK_FAILS(RS_ERR_RESOURCES, "thread", rs_client_submit(client, 1, ping, NULL, NULL, queue, 1, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    CHECK_FAILS(RS_ERR_CONNECT, "thread", rs_client_open("redis://localhost:1", NULL, &other, &err));
    do_command(client, "PING", NULL);
    no_threads = false;
    CHECK_OK(rs_client_submit(client, 1, ping, NULL, NULL, queue, 1, &err));
    take(queue, RS_OK);
    /* One thread is enough: connecting takes none. */
    no_threads_but = 1;
    no_threads = true;
    CHECK_OK(rs_client_submit(lazy, 1, ping, NULL, NULL, queue, 1, &err));
    take(queue, RS_OK);
    no_threads = false;
    CHECK_OK(rs_client_submit(lazy, 1, ping, NULL, NULL, queue, 1, &err));
    take(queue, RS_OK);
    rs_client_free(client);
    rs_client_free(lazy);
    rs_queue_free(queue);
}

int main(int argc, char **argv) {
    if (argc > 1) return sockets_here();
    this_program = argv[0];
    CHECK(sem_init(&asked, 0, 0) == 0 && sem_init(&answer, 0, 0) == 0);
    redis = server_start();
    RUN(no_thread_takes_signals_of_the_hosts);
    RUN(the_log_ends_with_the_client);
    RUN(freed_in_the_log_callback);
    RUN(freed_in_the_log_callback_of_a_call);
    RUN(freed_in_a_completion);
    RUN(freed_during_a_handshake);
    RUN(freed_during_a_connect);
    RUN(freed_during_a_look_up);
    RUN(connections_that_are_made_at_once_look_their_host_up_once);
    RUN(programs_inherit_nothing);
    RUN(a_thread_that_cannot_be_started_is_an_error);
}
