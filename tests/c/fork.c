/* fork: the child's calls on its parent's client are refused, and nothing that it does disturbs the parent. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/everything.h"
#include "support/server.h"

static server *redis;
static rs_client *client;
static rs_script *script;

enum { BLOCKING = 3, SUBMITTING = 3, OPENING = 2, WORKERS = BLOCKING + SUBMITTING + OPENING, CHILD_S = 60 };

/* AddressSanitizer's allocator is left locked in a child itself, by whichever thread was at it: there the child is
   all that is looked at. */
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Runs a test in a child of fork, which must end well. */
static void in_a_child(void (*test)(void)) {
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

static void parent_is_well(void) {
    rs_reply *reply = NULL;
    const char *args[] = {"20"};
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 1, args, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 21);
    rs_reply_free(reply);
    CHECK_INT(stat_of(client, RS_STAT_RECONNECTS), 0); /* on the same connection still */
}

static void calls_in_the_child(void) {
    const char *ping[] = {"PING"};
    bool exists = true;
    const char *sha = rs_script_sha(script);
    rs_reply *source = NULL;
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_command(client, 1, ping, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork",
                rs_script_call(script, client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_load(client, script, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_exists(client, 1, &sha, NULL, &exists, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_flush(client, RS_FLUSH_SYNC, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_kill(client, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_kill(client, &source, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_show(client, sha, strlen(sha), &source, &err));
    rs_error *err = NULL;
    CHECK(rs_client_command(client, 1, ping, NULL, NULL, NULL, &err) != RS_OK);
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
}

static void a_client_of_the_childs_own(void) {
    rs_client *own = open_client(server_url(redis));
    const char *args[] = {"1"};
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, own, 0, NULL, NULL, 1, args, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 2);
    rs_reply_free(reply);
    rs_client_free(own);
}

static void freeing_in_the_child(void) {
    rs_script_free(script);
    rs_client_free(client);
}

static void closing_in_the_child(void) { rs_client_close(client); }

static void a_childs_calls_are_refused(void) {
    in_a_child(calls_in_the_child);
    parent_is_well();
}
static void a_child_opens_its_own(void) {
    in_a_child(a_client_of_the_childs_own);
    parent_is_well();
}
static void a_child_frees(void) {
    in_a_child(freeing_in_the_child);
    parent_is_well();
}
static void a_child_closes(void) {
    in_a_child(closing_in_the_child);
    parent_is_well();
}

/* ---- Threads of the library's that are missing in the child ---- */

/* Under a sanitizer a thread that is missing may have held the lock of its allocator: then the child stands still. */
static bool may_miss_threads(void) { return often(SANITIZED ? 0 : 1, 0) > 0; }

static void give(void *context, rs_credentials_request *request) {
    (void)context;
    rs_credentials_answer(request, NULL, "", 0, 900000, NULL);
}

/* A client that has looked its host up, each time on a thread, and has one that sleeps until credentials are due. */
static rs_client *client_with_threads(void) {
    rs_options *options = rs_options_new();
    rs_client *made = NULL;
    char url[64];
    snprintf(url, sizeof url, "redis://localhost:%d", server_port(redis));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 600000, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 600000, &err));
    CHECK_OK(rs_options_set_credentials(options, give, NULL, NULL, &err));
    CHECK_OK(rs_client_open(url, options, &made, &err));
    rs_options_free(options);
    return made;
}

static rs_client *with_threads;
static sem_t freed;

static void *wait_until_freed(void *context) {
    CHECK(sem_wait(&freed) == 0);
    return context;
}

/* The system gives the memory of threads that are missing to new ones of that size, and their numbers with it. */
static void threads_of_the_childs_own(void) {
    enum { OWN = 8, STACK = 2 << 20 };
    pthread_t own[OWN];
    pthread_attr_t size;
    CHECK(sem_init(&freed, 0, 0) == 0);
    CHECK(pthread_attr_init(&size) == 0 && pthread_attr_setstacksize(&size, STACK) == 0);
    for (int i = 0; i < OWN; i++) CHECK(pthread_create(&own[i], &size, wait_until_freed, NULL) == 0);
    rs_client_free(with_threads);
    for (int i = 0; i < OWN; i++) CHECK(sem_post(&freed) == 0);
    for (int i = 0; i < OWN; i++) CHECK_INT(pthread_join(own[i], NULL), 0); /* nobody has let go of it */
    CHECK(pthread_attr_destroy(&size) == 0);
}

/* To wait for a thread of which it has let go would be a panic, which is printed. */
static void a_new_client_in_place_of_the_parents(void) {
    FILE *const printed = tmpfile();
    CHECK(printed != NULL && dup2(fileno(printed), STDERR_FILENO) >= 0);
    rs_client *own = client_with_threads();
    rs_client_free(with_threads);
    do_command(own, "PING", NULL);
    rs_client_free(own);
    CHECK(lseek(STDERR_FILENO, 0, SEEK_CUR) == 0);
}

static void a_child_frees_what_had_threads(void) {
    if (!may_miss_threads()) return;
    with_threads = client_with_threads();
    in_a_lost_child(threads_of_the_childs_own);
    in_a_lost_child(a_new_client_in_place_of_the_parents);
    do_command(with_threads, "PING", NULL);
    rs_client_free(with_threads);
}

/* ---- Connections that a child has freed ---- */

static bool is_connected(const char *name) {
    rs_reply *list = command(client, "CLIENT", "LIST", NULL);
    const bool is_there = strstr(rs_reply_string(list, NULL), name) != NULL;
    rs_reply_free(list);
    return is_there;
}

/* With a call under way for good, and a thread that looks after it. */
static rs_client *client_with_a_call(rs_queue **queue) {
    const char *wait[] = {"BLPOP", "nobody's", "0"};
    rs_options *options = rs_options_new();
    rs_client *made = NULL;
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 600000, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 600000, &err));
    CHECK_OK(rs_options_set_client_name(options, "a-prefork-server", &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &made, &err));
    rs_options_free(options);
    CHECK_OK(rs_queue_new(1, 0, queue, &err));
    CHECK_OK(rs_client_submit(made, 3, wait, NULL, NULL, *queue, 1, &err));
    WAIT_UNTIL(stat_of(made, RS_STAT_IN_FLIGHT) == 1);
    return made;
}

/* A server and its worker, which frees what it has from it, and goes on. When the server is killed its connections end:
   who waits on one would be given what nobody takes. */
static bool ends_with_the_server(void) {
    enum { LOOKS = 2000 };
    int told[2], looks = 0;
    pid_t worker = 0;
    CHECK(pipe(told) == 0);
    const pid_t parent = fork();
    CHECK(parent >= 0);
    if (parent == 0) {
        rs_queue *queue = NULL;
        rs_client *made = client_with_a_call(&queue);
        worker = fork();
        CHECK(worker >= 0);
        alarm(5 * CHILD_S); /* by then the test has failed */
        if (worker == 0) {
            rs_client_free(made);
            rs_queue_free(queue);
            worker = getpid();
            CHECK(write(told[1], &worker, sizeof worker) == sizeof worker);
        }
        for (;;) pause();
    }
    CHECK(read(told[0], &worker, sizeof worker) == sizeof worker);
    CHECK(is_connected("a-prefork-server"));
    CHECK(kill(parent, SIGKILL) == 0 && waitpid(parent, NULL, 0) == parent);
    while (is_connected("a-prefork-server") && looks < LOOKS) looks++, pause_ms(1);
    CHECK(kill(worker, SIGKILL) == 0);
    WAIT_UNTIL(!is_connected("a-prefork-server"));
    close(told[0]);
    close(told[1]);
    return looks < LOOKS;
}

/* What the client's thread is at when the worker is forked stays as it is: mostly that is nothing. */
static void a_child_that_has_freed_a_client_keeps_no_connection_open(void) {
    if (!may_miss_threads()) return;
    int left = 20;
    while (!ends_with_the_server()) CHECK(left-- > 0);
}

/* ---- Options that a thread of the parent's was just using ---- */

static atomic_bool opened;

static void ignore(void *context, const rs_event *event) { (void)context, (void)event; }

static void open_with(rs_options *options) {
    rs_client *lazy = NULL;
    CHECK_OK(rs_client_open("redis://127.0.0.1:1", options, &lazy, &err));
    rs_client_free(lazy);
}

static void *open_with_the_same(void *options) {
    while (!opened) open_with(options);
    return NULL;
}

/* It hangs only where the fork comes between two instructions of that thread. */
static void options_are_a_childs_own(void) {
    const int forks = often(SANITIZED ? 0 : 500, 0);
    rs_options *options = rs_options_new();
    pthread_t thread;
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_options_set_log(options, ignore, NULL, NULL, &err));
    CHECK(pthread_create(&thread, NULL, open_with_the_same, options) == 0);
    for (int i = 0; i < forks; i++) {
        int status = 0;
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(CHILD_S);
            open_with(options);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_INT(status, 0);
    }
    opened = true;
    CHECK(pthread_join(thread, NULL) == 0);
    rs_options_free(options);
}

/* ---- Forks while other threads work: whatever they hold at that moment stays held in the child. ---- */

static everything at_work;
static atomic_bool over;

static void *call_on_and_on(void *context) {
    while (!over) {
        rs_reply *reply = NULL;
        uint64_t stats[RS_STAT_COUNT];
        CHECK_OK(rs_script_call(at_work.script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
        rs_reply_free(reply);
        rs_client_stats(at_work.client, stats, RS_STAT_COUNT);
    }
    return context;
}

static void *submit_on_and_on(void *context) {
    enum { AT_ONCE = 20 };
    const char *ping[] = {"PING"};
    while (!over) {
        rs_completion done[AT_ONCE];
        size_t count = 0;
        for (int i = 0; i < AT_ONCE; i++)
            if (rs_client_submit(at_work.client, 1, ping, NULL, NULL, at_work.queue, 1, NULL) != RS_OK)
                break; /* it is full */
        CHECK_OK(rs_queue_poll(at_work.queue, done, AT_ONCE, 10, &count, &err));
        for (size_t i = 0; i < count; i++) {
            rs_reply_free(done[i].reply);
            rs_error_free(done[i].error);
        }
    }
    return context;
}

static void *open_on_and_on(void *context) {
    while (!over) {
        everything e = everything_of(server_tcp_url(redis));
        call_everything(&e, RS_OK);
        free_everything(&e);
    }
    return context;
}

/* With handles that its parent's threads use, those that they do not, and its own. */
static void everything_in_the_child(everything *idle) {
    rs_reply *reply = NULL;
    rs_completion completion;
    size_t count = 7;
    const char *ping[] = {"PING"};
    rs_client *const unused[] = {at_work.client, idle->client};
    alarm(CHILD_S); /* far beyond what it takes: it hangs then, and is killed */
    CHECK_INT(rs_queue_len(at_work.queue), 0);
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_queue_poll(at_work.queue, &completion, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 0);
    for (int i = 0; i < 2; i++)
        CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_command(unused[i], 1, ping, NULL, NULL, &reply, &err));
    call_everything(idle, RS_ERR_FORKED);

    everything own = everything_of(server_url(redis));
    call_everything(&own, RS_OK);
    /* Its own, of its parent's. */
    CHECK_OK(rs_script_call(idle->script, own.client, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_submit(own.client, 1, ping, NULL, NULL, at_work.queue, 1, &err));
    /* And a child's child. */
    int status = 0;
    const pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) {
        alarm(CHILD_S);
        call_everything(&own, RS_ERR_FORKED);
        free_everything(&own);
        raise(SIGKILL);
    }
    CHECK(waitpid(grandchild, &status, 0) == grandchild);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    call_everything(&own, RS_OK);
    free_everything(&own);

    free_everything(idle);
    free_everything(&at_work);
}

static void forks_while_threads_work(void) {
    pthread_t threads[WORKERS];
    const int workers = SANITIZED ? 0 : WORKERS, forks = often(SANITIZED ? 15 : 250, 15);
    at_work = everything_of(server_url(redis));
    for (int i = 0; i < workers; i++) {
        void *(*const work)(void *) = i < BLOCKING                ? call_on_and_on
                                      : i < BLOCKING + SUBMITTING ? submit_on_and_on
                                                                  : open_on_and_on;
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    }
    everything idle = everything_of(server_url(redis));
    for (int i = 0; i < forks; i++) {
        int status = 0;
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            everything_in_the_child(&idle);
            raise(SIGKILL); /* what its parent's threads hold is lost here, and no leak */
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            FAIL("child %d ended with %s %d", i, WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    over = true;
    for (int i = 0; i < workers; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(stat_of(at_work.client, RS_STAT_RECONNECTS), 0);
    free_everything(&at_work);
    call_everything(&idle, RS_OK);
    free_everything(&idle);
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    const char lua[] = "return ARGV[1] + 1";
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    parent_is_well();
    RUN(a_childs_calls_are_refused);
    RUN(a_child_opens_its_own);
    RUN(a_child_frees);
    RUN(a_child_closes);
    RUN(a_child_frees_what_had_threads);
    RUN(a_child_that_has_freed_a_client_keeps_no_connection_open);
    RUN(options_are_a_childs_own);
    RUN(forks_while_threads_work);
    rs_script_free(script);
    rs_client_free(client);
}
