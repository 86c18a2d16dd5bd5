/* Threads of the host's that end: by pthread_cancel in the middle of calls, and in the destructors of their keys.
   Nothing is printed. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/everything.h"
#include "support/server.h"

static server *redis;
static rs_client *client, *other;
static char url[64]; /* with a name to be looked up */
static const char *const ping[] = {"PING"};

/* The body of a thread, and how far it has come: it may not be cancelled before that. */
typedef struct {
    void (*body)(void);
    sem_t under_way;
    atomic_bool done;
} errand;

static errand *here; /* of the one thread that runs one */

static void *run(void *context) {
    errand *const e = context;
    e->body();
    e->done = true;
    pthread_testcancel();
    return NULL;
}

/* Cancels a thread that is in its body, and waits for it. */
static void cancelled_in(void (*body)(void)) {
    static errand e;
    void *result = NULL;
    pthread_t thread;
    here = &e;
    e.body = body;
    e.done = false;
    CHECK(sem_init(&e.under_way, 0, 0) == 0);
    CHECK(pthread_create(&thread, NULL, run, &e) == 0);
    CHECK(sem_wait(&e.under_way) == 0);
    CHECK(pthread_cancel(thread) == 0);
    do_command(client, "RPUSH", "end", "of the wait", NULL);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(e.done);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(sem_destroy(&e.under_way) == 0);
}

/* From here on it is cancelled at the first place that lets it. */
static void cancel_this_thread(void) {
    CHECK(pthread_cancel(pthread_self()) == 0);
    CHECK(sem_post(&here->under_way) == 0);
}

/* Behind the client's back. */
static void flush_scripts(void) { do_command(other, "SCRIPT", "FLUSH", NULL); }

static void everything_pending(void) {
    cancel_this_thread();
    everything e = everything_of(url);
    call_everything(&e, RS_OK);
    free_everything(&e);
}

/* The way of calls that go to replicas where there are any. */
static void routed_pending(void) {
    rs_options *options = rs_options_new();
    CHECK_OK(rs_options_set_read_from(options, RS_READ_FROM_PREFER_REPLICA, &err));
    cancel_this_thread();
    rs_client *routed = NULL;
    CHECK_OK(rs_client_open(url, options, &routed, &err));
    rs_options_free(options);
    const char lua[] = "return 1";
    rs_script *script = NULL;
    rs_pipeline *pipeline = NULL;
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_register(routed, lua, strlen(lua), NULL, &script, &err));
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &reply, &err));
    rs_reply_free(reply);
    CHECK_OK(rs_pipeline_new(routed, 0, &pipeline, &err));
    CHECK_OK(rs_pipeline_script(pipeline, script, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &err));
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &reply, &err));
    rs_reply_free(reply);
    rs_pipeline_free(pipeline);
    rs_script_free(script);
    rs_client_free(routed);
}

static void lost_connections_pending(void) {
    enum { TIMES = 10 };
    rs_client *mortal = open_client(url);
    cancel_this_thread();
    for (int i = 0; i < TIMES; i++) {
        do_command(client, "CLIENT", "KILL", "TYPE", "normal", NULL);
        while (rs_client_command(mortal, 1, ping, NULL, NULL, NULL, NULL) != RS_OK) {}
    }
    rs_client_free(mortal);
}

/* With a client that another thread has opened: what a thread does for the first time it may have to ask the system
   for. */
static void repairs_pending(void) {
    const char lua[] = "return redis.call('INCR', KEYS[1])";
    const char *keys[] = {"repaired"};
    rs_script *script = NULL;
    rs_pipeline *pipeline = NULL;
    rs_reply *reply = NULL;
    cancel_this_thread();
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    CHECK_OK(rs_script_call(script, NULL, 1, keys, NULL, 0, NULL, NULL, NULL, NULL, &err));
    flush_scripts();
    CHECK_OK(rs_script_call(script, NULL, 1, keys, NULL, 0, NULL, NULL, NULL, NULL, &err));
    flush_scripts();
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    CHECK_OK(rs_pipeline_script(pipeline, script, 1, keys, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 0)), 3);
    rs_reply_free(reply);
    rs_pipeline_free(pipeline);
    rs_script_free(script);
}

static void failures_pending(void) {
    rs_client *none = NULL;
    cancel_this_thread();
    CHECK_FAILS(RS_ERR_CONNECT, "", rs_client_open("redis://127.0.0.1:1", NULL, &none, &err));
    CHECK_FAILS(RS_ERR_CONNECT, "", rs_client_open("redis://nowhere.invalid", NULL, &none, &err));
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("nothing", NULL, &none, &err));
}

static void waiting_for_the_server(void) {
    const char *wait[] = {"BLPOP", "end", "0"};
    rs_reply *reply = NULL;
    CHECK(sem_post(&here->under_way) == 0);
    CHECK_OK(rs_client_command(client, 3, wait, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
}

static void waiting_for_a_completion(void) {
    const char *wait[] = {"BLPOP", "end", "0"};
    rs_queue *queue = NULL;
    rs_completion completion;
    size_t count = 0;
    CHECK_OK(rs_queue_new(1, 0, &queue, &err));
    CHECK_OK(rs_client_submit(client, 3, wait, NULL, NULL, queue, 1, &err));
    CHECK(sem_post(&here->under_way) == 0);
    CHECK_OK(rs_queue_poll(queue, &completion, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(completion.status, RS_OK);
    rs_reply_free(completion.reply);
    rs_queue_free(queue);
}

static void callback(void *context, const rs_completion *completion) {
    (void)context;
    rs_reply_free(completion->reply);
    pthread_testcancel();
}

static void log_callback(void *context, const rs_event *event) {
    (void)context, (void)event;
    pthread_testcancel();
}

static void call_callback(void *context, const rs_call_event *event) {
    (void)context, (void)event;
    pthread_testcancel();
}

static void credentials_callback(void *context, rs_credentials_request *request) {
    (void)context;
    pthread_testcancel();
    rs_credentials_answer(request, NULL, "", 0, 0, NULL);
}

static void free_callback(void *context) {
    (void)context;
    pthread_testcancel();
}

/* They run within a call, which goes on to its end. */
static void callbacks_pending(void) {
    rs_options *options = rs_options_new();
    rs_client *logged = NULL;
    rs_queue *queue = NULL;
    size_t count = 0;
    CHECK_OK(rs_options_set_log(options, log_callback, NULL, free_callback, &err));
    CHECK_OK(rs_options_set_call_hook(options, call_callback, NULL, free_callback, &err));
    CHECK_OK(rs_options_set_credentials(options, credentials_callback, NULL, free_callback, &err));
    cancel_this_thread();
    CHECK_OK(rs_client_open(url, options, &logged, &err));
    CHECK_OK(rs_client_command(logged, 1, ping, NULL, NULL, NULL, &err));
    CHECK_OK(rs_queue_new(1, 0, &queue, &err));
    CHECK_OK(rs_client_submit(logged, 1, ping, NULL, NULL, queue, 1, &err));
    CHECK_OK(rs_queue_dispatch(queue, 1, 60000, callback, NULL, &count, &err));
    CHECK_INT(count, 1);
    rs_queue_free(queue);
    rs_client_free(logged);
    rs_options_free(options);
}

static void cancelled_threads_end_after_the_call(void) {
    cancelled_in(waiting_for_the_server);
    do_command(client, "DEL", "end", NULL);
    cancelled_in(waiting_for_a_completion);
    cancelled_in(repairs_pending);
    do_command(client, "DEL", "end", NULL);
    cancelled_in(everything_pending);
    cancelled_in(routed_pending);
    cancelled_in(lost_connections_pending);
    cancelled_in(failures_pending);
    cancelled_in(callbacks_pending);
}

/* ---- Destructors ---- */

static pthread_key_t key;
static atomic_int destroyed;

static void call_everything_at_the_end(void *context) {
    everything *const e = context;
    call_everything(e, RS_OK);
    everything another = everything_of(url);
    call_everything(&another, RS_OK);
    free_everything(&another);
    free_everything(e);
    free(e);
    destroyed++;
}

static void *use_and_end(void *context) {
    everything *const e = malloc(sizeof *e);
    CHECK(e != NULL);
    *e = everything_of(url);
    CHECK(pthread_setspecific(key, e) == 0);
    return context;
}

/* A thread that has not used the library before. */
static void *only_end(void *context) {
    CHECK(pthread_setspecific(key, context) == 0);
    return NULL;
}

static void a_destructor_may_call_everything(void) {
    pthread_t thread;
    destroyed = 0;
    CHECK(pthread_key_create(&key, call_everything_at_the_end) == 0);
    CHECK(pthread_create(&thread, NULL, use_and_end, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_INT(destroyed, 1);
    CHECK(pthread_key_delete(key) == 0);
}

/* What a thread begins to have only now, nobody frees for it any more: a few hundred bytes. */
static void call_first_in_a_destructor(void) {
    pthread_t thread;
    everything *const e = malloc(sizeof *e);
    CHECK(e != NULL);
    *e = everything_of(url);
    destroyed = 0;
    CHECK(pthread_key_create(&key, call_everything_at_the_end) == 0);
    CHECK(pthread_create(&thread, NULL, only_end, e) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_INT(destroyed, 1);
}

static void a_destructor_may_be_the_first_to_call(void) { in_a_lost_child(call_first_in_a_destructor); }

/* Runs a test with the descriptor of stderr on a file, which stays empty. */
static void in_silence(void (*test)(void)) {
    FILE *const printed = tmpfile();
    const int before = dup(STDERR_FILENO);
    char text[512];
    CHECK(printed != NULL && before >= 0);
    CHECK(dup2(fileno(printed), STDERR_FILENO) >= 0);
    test();
    CHECK(dup2(before, STDERR_FILENO) >= 0);
    rewind(printed);
    const size_t len = fread(text, 1, sizeof text - 1, printed);
    text[len] = 0;
    if (len > 0) FAIL("printed: %s", text);
    fclose(printed);
    close(before);
}

static void nothing_is_printed(void) {
    in_silence(a_destructor_may_call_everything);
    in_silence(a_destructor_may_be_the_first_to_call);
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    other = open_client(server_url(redis));
    snprintf(url, sizeof url, "redis://localhost:%d", server_port(redis));
    RUN(cancelled_threads_end_after_the_call);
    RUN(a_destructor_may_call_everything);
    RUN(a_destructor_may_be_the_first_to_call);
    RUN(nothing_is_printed);
    rs_client_free(client);
    rs_client_free(other);
}
