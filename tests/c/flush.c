/* Calls in every form while somebody empties the script cache all the time: none meets NOSCRIPT, none runs twice, none
   overtakes another of its key. */
#include <pthread.h>
#include <stdatomic.h>

#include "support/check.h"
#include "support/server.h"

enum { THREADS = 4, KEYS = 10 };

static server *redis;
static rs_client *client, *other;
/* Of each form; with RS_SCRIPT_LONG=1 a million. */
static int calls = 4000;
static atomic_bool done;

/* Counts, and fails if it is not the next call of its key. */
static const char lua[] = "if redis.call('INCR', KEYS[1]) ~= tonumber(ARGV[1]) then "
                          "return redis.error_reply('MINE out of order or twice') end return 1 -- ";

static void *flush_always(void *context) {
    (void)context;
    while (!atomic_load(&done)) CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
    return NULL;
}

typedef enum { SINGLE, PIPELINE, TRANSACTION } form;

typedef struct {
    form form;
    int id;
} caller;

static void run_single(const rs_script *script, const char *key, const char *number) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, client, 1, &key, NULL, 1, &number, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 1);
    rs_reply_free(reply);
}

static void run_together(rs_pipeline *pipeline, const rs_script *script, char keys[KEYS][16], const char *number) {
    for (int i = 0; i < KEYS; i++) {
        const char *key = keys[i];
        CHECK_OK(rs_pipeline_script(pipeline, script, 1, &key, NULL, 1, &number, NULL, NULL, &err));
    }
    rs_reply *replies = NULL;
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    CHECK_INT(rs_reply_len(replies), KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        const rs_reply *reply = rs_reply_element(replies, i);
        if (rs_reply_type(reply) == RS_REPLY_ERROR)
            FAIL("call %s of %s: %s", number, keys[i], rs_reply_string(reply, NULL));
        CHECK_INT(rs_reply_integer(reply), 1);
    }
    rs_reply_free(replies);
}

static void *call_always(void *context) {
    const caller *me = context;
    char source[sizeof lua + 16], keys[KEYS][16], number[16];
    rs_script *script = NULL;
    rs_pipeline *pipeline = NULL;
    const int len = snprintf(source, sizeof source, "%s%d", lua, me->id);
    CHECK_OK(rs_script_register(client, source, (size_t)len, NULL, &script, &err));
    CHECK_OK(rs_pipeline_new(client, me->form == TRANSACTION ? RS_PIPELINE_ATOMIC : 0, &pipeline, &err));
    for (int i = 0; i < KEYS; i++) snprintf(keys[i], sizeof keys[i], "%d:%d", me->id, i);
    const int rounds = calls / THREADS / KEYS;
    for (int round = 1; round <= rounds; round++) {
        snprintf(number, sizeof number, "%d", round);
        if (me->form == SINGLE) {
            for (int i = 0; i < KEYS; i++) run_single(script, keys[i], number);
        } else {
            run_together(pipeline, script, keys, number);
        }
    }
    snprintf(number, sizeof number, "%d", rounds);
    for (int i = 0; i < KEYS; i++) {
        rs_reply *reply = command(client, "GET", keys[i], NULL);
        CHECK_STRING(reply, number);
        rs_reply_free(reply);
    }
    rs_pipeline_free(pipeline);
    rs_script_free(script);
    return NULL;
}

static void run(form form) {
    pthread_t flusher, threads[THREADS];
    caller callers[THREADS];
    redis = server_start();
    client = open_client(server_url(redis));
    other = open_client(server_url(redis));
    atomic_store(&done, false);
    CHECK(pthread_create(&flusher, NULL, flush_always, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){.form = form, .id = i};
        CHECK(pthread_create(&threads[i], NULL, call_always, &callers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    atomic_store(&done, true);
    CHECK(pthread_join(flusher, NULL) == 0);
    rs_client_free(client);
    rs_client_free(other);
    server_stop(redis);
}

static void a_million_single_calls(void) { run(SINGLE); }
static void a_million_calls_in_pipelines(void) { run(PIPELINE); }
static void a_million_calls_in_transactions(void) { run(TRANSACTION); }

int main(void) {
    const char *is_long = getenv("RS_SCRIPT_LONG");
    if (is_long != NULL && strcmp(is_long, "1") == 0) calls = 1000000;
    RUN(a_million_single_calls);
    RUN(a_million_calls_in_pipelines);
    RUN(a_million_calls_in_transactions);
    return 0;
}
