/* Many threads on one client; handles freed and clients closed under calls in flight. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "support/check.h"
#include "support/server.h"

enum { THREADS = 8, CALLS = 200 };

static server *redis;

/* Keeps the server busy until the script is killed. */
static const char endless_lua[] = "while true do end";

typedef struct {
    rs_client *client;
    rs_script *script;
    int id;
    rs_status status;
    int64_t sum;
} task;

static void *add_many(void *context) {
    task *t = context;
    char id[8];
    const char *args[] = {id};
    snprintf(id, sizeof id, "%d", t->id);
    for (int i = 0; i < CALLS; i++) {
        rs_reply *reply = NULL;
        CHECK_OK(rs_script_call(t->script, NULL, 0, NULL, NULL, 1, args, NULL, NULL, &reply, &err));
        CHECK_INT(rs_reply_integer(reply), t->id + 1); /* its own answer, nobody else's */
        t->sum += rs_reply_integer(reply);
        rs_reply_free(reply);
    }
    return NULL;
}

static void many_threads_on_one_client(void) {
    rs_client *client = open_client(server_url(redis));
    const char lua[] = "return ARGV[1] + 1";
    rs_script *script = NULL;
    pthread_t threads[THREADS];
    task tasks[THREADS];
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (task){.script = script, .id = i};
        CHECK(pthread_create(&threads[i], NULL, add_many, &tasks[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_INT(tasks[i].sum, CALLS * (i + 1));
    }
    CHECK_INT(stat_of(client, RS_STAT_IN_FLIGHT), 0);
    rs_script_free(script);
    rs_client_free(client);
}

enum { ROUNDS = 300 };
static atomic_int started, ended;

static void *add_in_rounds(void *context) {
    task *t = context;
    char id[8];
    const char *args[] = {id};
    snprintf(id, sizeof id, "%d", t->id);
    for (int round = 1; round <= ROUNDS; round++) {
        rs_reply *reply = NULL;
        while (atomic_load(&started) < round) sched_yield();
        CHECK_OK(rs_script_call(t->script, NULL, 0, NULL, NULL, 1, args, NULL, NULL, &reply, &err));
        CHECK_INT(rs_reply_integer(reply), t->id + 1);
        rs_reply_free(reply);
        atomic_fetch_add(&ended, 1);
    }
    return NULL;
}

/* A connection that was silent for a while is looked at before it is used, and by several threads at once here. */
static void all_at_once_after_silence(void) {
    rs_client *client = open_client(server_url(redis));
    const char lua[] = "return ARGV[1] + 1";
    rs_script *script = NULL;
    pthread_t threads[THREADS];
    task tasks[THREADS];
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (task){.script = script, .id = i};
        CHECK(pthread_create(&threads[i], NULL, add_in_rounds, &tasks[i]) == 0);
    }
    for (int round = 1; round <= ROUNDS; round++) {
        while (atomic_load(&ended) < (round - 1) * THREADS) sched_yield();
        pause_ms(2); /* the silence */
        atomic_store(&started, round);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    rs_script_free(script);
    rs_client_free(client);
}

static void *call_once(void *context) {
    task *t = context;
    rs_error *err = NULL;
    t->status = rs_script_call(t->script, t->client, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err);
    CHECK_INT(rs_error_status(err), t->status);
    CHECK_INT(rs_error_is_indeterminate(err), t->status == RS_ERR_INDETERMINATE);
    rs_error_free(err);
    return NULL;
}

/* Starts threads whose calls do not end by themselves, and returns when all are in flight. */
static void get_stuck(rs_client *client, rs_script *script, pthread_t *threads, task *tasks) {
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (task){.client = client, .script = script};
        CHECK(pthread_create(&threads[i], NULL, call_once, &tasks[i]) == 0);
    }
    WAIT_UNTIL(stat_of(client, RS_STAT_IN_FLIGHT) == THREADS);
}

static void a_script_freed_while_it_is_called(void) {
    rs_client *client = open_client(server_url(redis)), *killer = NULL;
    rs_options *lazy = rs_options_new();
    const char lua[] = "if redis.call('INCR', KEYS[1]) > 0 then return 'ran' end";
    const char *keys[] = {"count"};
    rs_script *script = NULL, *same = NULL;
    pthread_t threads[THREADS];
    task tasks[THREADS];
    CHECK_OK(rs_options_set_lazy_connect(lazy, true, &err));
    CHECK_OK(rs_client_open(server_url(redis), lazy, &killer, &err)); /* a busy server shakes no hands */
    CHECK_OK(rs_script_register(client, endless_lua, strlen(endless_lua), NULL, &script, &err));
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &same, &err));
    get_stuck(client, script, threads, tasks);
    rs_script_free(script);
    /* The server runs them one after the other. */
    WAIT_UNTIL((rs_client_script_kill(killer, NULL), stat_of(client, RS_STAT_IN_FLIGHT) == 0));
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_INT(tasks[i].status, RS_ERR_SERVER);
    }
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(same, NULL, 1, keys, NULL, 0, NULL, NULL, NULL, &reply, &err));
    CHECK_STRING(reply, "ran");
    rs_reply_free(reply);
    rs_script_free(same);
    rs_options_free(lazy);
    rs_client_free(killer);
    rs_client_free(client);
}

static void a_client_closed_with_calls_in_flight(void) {
    rs_client *client = open_client(server_url(redis));
    rs_script *script = NULL;
    pthread_t threads[THREADS];
    task tasks[THREADS];
    CHECK_OK(rs_script_register(client, endless_lua, strlen(endless_lua), NULL, &script, &err));
    get_stuck(client, script, threads, tasks);
    rs_client_close(client);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        if (tasks[i].status != RS_ERR_CLOSED) CHECK_INT(tasks[i].status, RS_ERR_INDETERMINATE);
    }
    CHECK_INT(stat_of(client, RS_STAT_IN_FLIGHT), 0);
    server_stop(redis); /* or it would run the scripts of all those calls to no end */
    redis = server_start();
    rs_script_free(script);
    rs_client_free(client);
}

/* A view keeps the connection when the handle that it was made from goes. */
static void a_view_outlives_its_client(void) {
    rs_client *client = open_client(server_url(redis)), *view = NULL;
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 5000), &view, &err));
    rs_client_free(client);
    do_command(view, "PING", NULL);
    rs_client_free(view);
}

int main(void) {
    redis = server_start();
    RUN(many_threads_on_one_client);
    RUN(all_at_once_after_silence);
    RUN(a_script_freed_while_it_is_called);
    RUN(a_client_closed_with_calls_in_flight);
    RUN(a_view_outlives_its_client);
}
