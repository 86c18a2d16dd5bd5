/* A host that does everything at once: it forks, signals interrupt its calls, its threads end after a call, and the
   library is unloaded when they have. Nothing is lost by it, and nothing runs twice. `at_once LIBRARY URL` */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define FUNCTIONS(F)                                                                                                   \
    F(rs_options_new)                                                                                                  \
    F(rs_options_set_call_timeout_ms)                                                                                  \
    F(rs_options_free)                                                                                                 \
    F(rs_client_open)                                                                                                  \
    F(rs_client_command)                                                                                               \
    F(rs_client_submit)                                                                                                \
    F(rs_client_free)                                                                                                  \
    F(rs_script_register)                                                                                              \
    F(rs_script_call)                                                                                                  \
    F(rs_script_free)                                                                                                  \
    F(rs_queue_new)                                                                                                    \
    F(rs_queue_poll)                                                                                                   \
    F(rs_queue_free)                                                                                                   \
    F(rs_reply_integer)                                                                                                \
    F(rs_reply_free)                                                                                                   \
    F(rs_error_message)                                                                                                \
    F(rs_error_free)
#include "support/child.h"
#include "support/loaded.h"

enum { CALLERS = 3, SUBMITTERS = 2, LONG_S = 60 };

static const char *url;
static rs_client *client;
static rs_script *count;
static atomic_bool over;
static atomic_llong counted, interrupted;

static void tell(int status, rs_error *error) {
    if (status != RS_OK) FAIL("%d: %s", status, lib.rs_error_message(error));
}

/* With time enough on a busy machine. */
static rs_client *open_client(void) {
    rs_options *options = lib.rs_options_new();
    rs_client *opened = NULL;
    rs_error *error = NULL;
    CHECK_INT(lib.rs_options_set_call_timeout_ms(options, LONG_S * 1000, NULL), RS_OK);
    tell(lib.rs_client_open(url, options, &opened, &error), error);
    lib.rs_options_free(options);
    return opened;
}

static void call_once(void) {
    const char *keys[] = {"at_once"};
    rs_reply *reply = NULL;
    rs_error *error = NULL;
    tell(lib.rs_script_call(count, NULL, 1, keys, NULL, 0, NULL, NULL, NULL, &reply, &error), error);
    CHECK(lib.rs_reply_integer(reply) > 0);
    lib.rs_reply_free(reply);
    counted++;
}

static void *a_thread_of_one_call(void *context) {
    call_once();
    return context;
}

/* Calls, and starts threads that end after theirs. */
static void *call_on_and_on(void *context) {
    while (!over) {
        pthread_t brief;
        CHECK(pthread_create(&brief, NULL, a_thread_of_one_call, NULL) == 0);
        for (int i = 0; i < 10; i++) call_once();
        CHECK(pthread_join(brief, NULL) == 0);
    }
    return context;
}

static void *submit_on_and_on(void *context) {
    enum { AT_A_TIME = 20 };
    const char *increment[] = {"INCR", "at_once"};
    rs_queue *queue = NULL;
    CHECK_INT(lib.rs_queue_new(AT_A_TIME, 0, &queue, NULL), RS_OK);
    while (!over) {
        for (int i = 0; i < AT_A_TIME; i++)
            CHECK_INT(lib.rs_client_submit(client, 2, increment, NULL, NULL, queue, 1, NULL), RS_OK);
        for (int open = AT_A_TIME; open > 0;) {
            rs_completion done[AT_A_TIME];
            size_t ended = 0;
            CHECK_INT(lib.rs_queue_poll(queue, done, AT_A_TIME, LONG_S * 1000, &ended, NULL), RS_OK);
            CHECK(ended > 0);
            for (size_t i = 0; i < ended; i++) {
                tell(done[i].status, done[i].error);
                lib.rs_reply_free(done[i].reply);
            }
            open -= (int)ended;
            counted += (long long)ended;
        }
    }
    lib.rs_queue_free(queue);
    return context;
}

/* Whichever thread it meets, in a wait or at work. */
static void interrupt(int signal) {
    (void)signal;
    interrupted++;
}

static void *signal_on_and_on(void *threads) {
    const struct timespec pause = {0, 1000000};
    while (!over) {
        for (int i = 0; i < CALLERS + SUBMITTERS; i++) CHECK(pthread_kill(((pthread_t *)threads)[i], SIGUSR1) == 0);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* In the child the parent's client is refused, its own works, and all can be freed. */
static void be_a_child(void) {
    const char *ping[] = {"PING"};
    rs_error *error = NULL;
    alarm(LONG_S); /* far beyond what it takes: it hangs then, and is killed */
    CHECK_INT(lib.rs_client_command(client, 1, ping, NULL, NULL, NULL, NULL), RS_ERR_FORKED);
    rs_client *own = open_client();
    tell(lib.rs_client_command(own, 1, ping, NULL, NULL, NULL, &error), error);
    lib.rs_client_free(own);
    lib.rs_script_free(count);
    lib.rs_client_free(client);
}

/* What the server has counted is what callers were told. */
static void compare(void) {
    const char *zero[] = {"INCRBY", "at_once", "0"};
    rs_reply *reply = NULL;
    CHECK_INT(lib.rs_client_command(client, 3, zero, NULL, NULL, &reply, NULL), RS_OK);
    CHECK_INT(lib.rs_reply_integer(reply), counted);
    lib.rs_reply_free(reply);
}

static void do_everything_at_once(int forks) {
    const char lua[] = "return redis.call('INCR', KEYS[1])";
    pthread_t threads[CALLERS + SUBMITTERS], signaller;
    rs_error *error = NULL;
    client = open_client();
    tell(lib.rs_script_register(client, lua, strlen(lua), NULL, &count, &error), error);
    over = false;
    for (int i = 0; i < CALLERS + SUBMITTERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < CALLERS ? call_on_and_on : submit_on_and_on, NULL) == 0);
    CHECK(pthread_create(&signaller, NULL, signal_on_and_on, threads) == 0);
    for (int i = 0; i < forks; i++) in_a_lost_child(be_a_child);
    over = true;
    CHECK(pthread_join(signaller, NULL) == 0);
    for (int i = 0; i < CALLERS + SUBMITTERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    compare();
    lib.rs_script_free(count);
    lib.rs_client_free(client);
}

int main(int argc, char **argv) {
    struct sigaction action = {0};
    const int rounds = often(10, 2), forks = often(100, 3);
    CHECK_INT(argc, 3);
    url = argv[2];
    action.sa_handler = interrupt; /* without SA_RESTART */
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < rounds; i++) {
        load_library(argv[1]);
        do_everything_at_once(forks);
        CHECK(!stays_when_unloaded(argv[1]));
    }
    CHECK(interrupted > 0);
    fprintf(stderr, "%lld calls, %lld signals, %d forks, unloaded %d times\n", (long long)counted,
            (long long)interrupted, rounds * forks, rounds);
}
