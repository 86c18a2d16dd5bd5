/* The library unloaded right after a thread that has used it has ended: nothing of it runs any more, or it stays.
   `unload LIBRARY URL` */
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* What is used of the library, by the names of its functions. */
#define FUNCTIONS(F)                                                                                                   \
    F(rs_client_open)                                                                                                  \
    F(rs_client_submit)                                                                                                \
    F(rs_client_free)                                                                                                  \
    F(rs_queue_new)                                                                                                    \
    F(rs_queue_poll)                                                                                                   \
    F(rs_queue_free)                                                                                                   \
    F(rs_reply_free)                                                                                                   \
    F(rs_error_free)                                                                                                   \
    F(rs_options_new)                                                                                                  \
    F(rs_options_free)                                                                                                 \
    F(rs_options_set_log)                                                                                              \
    F(rs_options_set_lazy_connect)                                                                                     \
    F(rs_options_set_connect_timeout_ms)

#include "support/loaded.h"

static const char *path, *url;
static const char *const ping[] = {"PING"};

/* In place of the system's: a look-up that hangs. */
static atomic_bool no_answer;
static sem_t asked, answer, answered;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    find(RTLD_NEXT, "getaddrinfo", &next);
    const bool hangs = no_answer;
    if (hangs) CHECK(sem_post(&asked) == 0 && sem_wait(&answer) == 0);
    const int result = next(host, service, hints, found);
    if (hangs) CHECK(sem_post(&answered) == 0);
    return result;
}

static void (*used)(void);

static void *use(void *context) {
    used();
    return context;
}

/* Loads it, has a thread use it, and unloads it. Whether it has stayed. */
static bool stays_after(void (*body)(void)) {
    pthread_t thread;
    load_library(path);
    used = body;
    CHECK(pthread_create(&thread, NULL, use, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return stays_when_unloaded(path);
}

static rs_client *open_lazily(const char *where, rs_log_fn log) {
    rs_options *options = lib.rs_options_new();
    rs_client *client = NULL;
    CHECK_INT(lib.rs_options_set_lazy_connect(options, true, NULL), RS_OK);
    CHECK_INT(lib.rs_options_set_log(options, log, NULL, NULL, NULL), RS_OK);
    CHECK_INT(lib.rs_client_open(where, options, &client, NULL), RS_OK);
    lib.rs_options_free(options);
    return client;
}

static rs_queue *submit(rs_client *client, size_t count, const char *const *words) {
    rs_queue *queue = NULL;
    CHECK_INT(lib.rs_queue_new(10, 0, &queue, NULL), RS_OK);
    CHECK_INT(lib.rs_client_submit(client, count, words, NULL, NULL, queue, 1, NULL), RS_OK);
    return queue;
}

static void take(rs_queue *queue) {
    rs_completion completion;
    size_t count = 0;
    CHECK_INT(lib.rs_queue_poll(queue, &completion, 1, 60000, &count, NULL), RS_OK);
    CHECK_INT(count, 1);
    lib.rs_reply_free(completion.reply);
    lib.rs_error_free(completion.error);
}

static void with_a_reply(void) {
    rs_client *client = open_lazily(url, NULL);
    rs_queue *queue = submit(client, 1, ping);
    take(queue);
    lib.rs_queue_free(queue);
    lib.rs_client_free(client);
}

static void without_waiting(void) {
    rs_client *client = open_lazily(url, NULL);
    lib.rs_queue_free(submit(client, 1, ping));
    lib.rs_client_free(client);
}

static void with_a_command_that_waits(void) {
    const char *words[] = {"BLPOP", "nobody's", "0"};
    rs_client *client = open_lazily(url, NULL);
    rs_queue *queue = submit(client, 3, words);
    lib.rs_client_free(client);
    take(queue);
    lib.rs_queue_free(queue);
}

static void without_a_server(void) {
    rs_client *client = open_lazily("redis://127.0.0.1:1", NULL);
    lib.rs_queue_free(submit(client, 1, ping));
    lib.rs_client_free(client);
}

/* A caller's look-up that takes too long, and a worker's when the client is freed. */
static void with_a_look_up_that_hangs(void) {
    rs_options *options = lib.rs_options_new();
    rs_client *client = NULL;
    no_answer = true;
    CHECK_INT(lib.rs_options_set_connect_timeout_ms(options, 1, NULL), RS_OK);
    /* A slow machine's time is over before there is a look-up. */
    while (lib.rs_client_open("redis://localhost", options, &client, NULL) != RS_ERR_CONNECT) {}
    lib.rs_options_free(options);
    CHECK(sem_wait(&asked) == 0);
    client = open_lazily("redis://localhost", NULL);
    lib.rs_queue_free(submit(client, 1, ping));
    CHECK(sem_wait(&asked) == 0);
    lib.rs_client_free(client);
    no_answer = false;
}

static rs_client *to_free;

static void free_in_the_log(void *context, const rs_event *event) {
    (void)context, (void)event;
    lib.rs_client_free(to_free);
}

static void freed_on_its_own_thread(void) {
    to_free = open_lazily("redis://127.0.0.1:1", free_in_the_log);
    rs_queue *queue = submit(to_free, 1, ping);
    take(queue);
    lib.rs_queue_free(queue);
}

int main(int argc, char **argv) {
    void (*const uses[])(void) = {with_a_reply, without_waiting, with_a_command_that_waits, without_a_server};
    const int rounds = often(50, 2);
    CHECK_INT(argc, 3);
    path = argv[1];
    url = argv[2];
    CHECK(sem_init(&asked, 0, 0) == 0 && sem_init(&answer, 0, 0) == 0 && sem_init(&answered, 0, 0) == 0);
    for (int i = 0; i < rounds; i++)
        for (size_t j = 0; j < sizeof uses / sizeof *uses; j++) CHECK(!stays_after(uses[j]));
    /* From here on it does stay: a thread is left that nobody can wait for. */
    CHECK(stays_after(with_a_look_up_that_hangs));
    for (int i = 0; i < 2; i++) CHECK(sem_post(&answer) == 0);
    for (int i = 0; i < 2; i++) CHECK(sem_wait(&answered) == 0);
    CHECK(stays_after(freed_on_its_own_thread));
    CHECK(stays_after(with_a_reply));
}
