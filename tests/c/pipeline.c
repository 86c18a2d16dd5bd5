/* Pipelines and transactions: filling, round trips, lost caches, items that fail, refusals, sizes, and a server that
   dies. */
#include <pthread.h>

#include "support/check.h"
#include "support/server.h"

static server *redis;
static rs_client *client, *other;
static rs_script *multiply, *count;
static const char *const foo[] = {"foo"}, *const five[] = {"5"};

static rs_script *script_of(const char *lua) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(NULL, lua, strlen(lua), NULL, &script, &err));
    return script;
}

static rs_pipeline *pipeline_with(uint32_t flags) {
    rs_pipeline *pipeline = NULL;
    CHECK_OK(rs_pipeline_new(client, flags, &pipeline, &err));
    return pipeline;
}

static void add(rs_pipeline *pipeline, const char *word, const char *key, const char *value) {
    const char *argv[] = {word, key, value};
    CHECK_OK(rs_pipeline_command(pipeline, value != NULL ? 3 : key != NULL ? 2 : 1, argv, NULL, NULL, &err));
}

static void add_script(rs_pipeline *pipeline, const rs_script *script) {
    CHECK_OK(rs_pipeline_script(pipeline, script, 1, foo, NULL, 1, five, NULL, NULL, &err));
}

/* Executes; the replies must be an array of so many. */
static rs_reply *exec(rs_pipeline *pipeline, size_t len) {
    rs_reply *replies = NULL;
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    CHECK_INT(rs_reply_type(replies), RS_REPLY_ARRAY);
    CHECK_INT(rs_reply_len(replies), len);
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    return replies;
}

/* SET foo 5, then multiply by 5, in so many round trips: [OK, 25]. */
static void set_and_multiply(rs_pipeline *pipeline, uint64_t trips) {
    add(pipeline, "SET", "foo", "5");
    add_script(pipeline, multiply);
    CHECK_INT(rs_pipeline_len(pipeline), 2);
    const uint64_t before = stat_of(client, RS_STAT_ROUND_TRIPS);
    rs_reply *replies = exec(pipeline, 2);
    CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - before, trips);
    CHECK_INT(rs_reply_type(rs_reply_element(replies, 0)), RS_REPLY_STATUS);
    CHECK_STRING(rs_reply_element(replies, 0), "OK");
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 1)), 25);
    CHECK_NULL(rs_reply_element(replies, 2));
    rs_reply_free(replies);
}

static void check_number(const char *key, int64_t want) {
    const char *eval[] = {"EVAL", "return tonumber(redis.call('GET', KEYS[1]) or 0)", "1", key};
    rs_reply *reply = NULL;
    CHECK_OK(rs_client_command(other, 4, eval, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), want);
    rs_reply_free(reply);
}

/* An element that is an error, which the caller frees. */
static rs_error *error_at(const rs_reply *replies, size_t index) {
    rs_error *err = NULL;
    const rs_reply *const element = rs_reply_element(replies, index);
    CHECK_INT(rs_reply_type(element), RS_REPLY_ERROR);
    const rs_status status = rs_reply_error(element, &err);
    CHECK(status != RS_OK && err != NULL);
    CHECK_INT(rs_error_status(err), status);
    CHECK_INT(rs_reply_error(element, NULL), status);
    return err;
}

/* First of all: no script was ever loaded. */
static void one_round_trip_cold_and_warm(void) {
    rs_pipeline *pipeline = pipeline_with(0);
    set_and_multiply(pipeline, 1);
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), 1);
    set_and_multiply(pipeline, 1);
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), 1);
    rs_pipeline_free(pipeline);
}

static void a_transaction_survives_a_flush(void) {
    rs_pipeline *transaction = pipeline_with(RS_PIPELINE_ATOMIC);
    for (int round = 0; round < 3; round++) {
        CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
        set_and_multiply(transaction, 1);
    }
    set_and_multiply(transaction, 1);
    /* The very first use takes one round trip more. */
    rs_script *first = script_of("return 'new'");
    for (uint64_t trips = 2; trips >= 1; trips--) {
        const uint64_t before = stat_of(client, RS_STAT_ROUND_TRIPS);
        add_script(transaction, first);
        rs_reply *replies = exec(transaction, 1);
        CHECK_STRING(rs_reply_element(replies, 0), "new");
        CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - before, trips);
        rs_reply_free(replies);
    }
    rs_script_free(first);
    rs_pipeline_free(transaction);
}

static void count_once(rs_pipeline *pipeline) {
    add_script(pipeline, count);
    rs_reply_free(exec(pipeline, 1));
}

static void a_flush_before_a_pipeline(void) {
    rs_pipeline *pipeline = pipeline_with(0), *repairing = pipeline_with(RS_PIPELINE_REPAIR_UNORDERED);
    do_command(client, "DEL", "foo", NULL);
    count_once(pipeline);
    CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
    add(pipeline, "SET", "a", "1");
    add_script(pipeline, count);
    add(pipeline, "GET", "foo", NULL);
    add_script(pipeline, count);
    rs_reply *replies = exec(pipeline, 4);
    CHECK_OK(rs_reply_error(rs_reply_element(replies, 0), &err));
    CHECK_STRING(rs_reply_element(replies, 2), "1");
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 3)), 2); /* nothing behind it has touched its key */
    rs_error *err = error_at(replies, 1);
    CHECK_INT(rs_error_status(err), RS_ERR_NOSCRIPT);
    CHECK_HOLDS(rs_error_message(err), "item 1 (EVALSHA): NOSCRIPT");
    CHECK_TEXT(rs_error_server_code(err), "NOSCRIPT");
    CHECK(rs_error_is_not_executed(err) && !rs_error_is_indeterminate(err));
    rs_reply_free(replies);
    rs_error_free(err); /* needs no reply */
    check_number("foo", 2);

    count_once(pipeline);
    CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
    add_script(repairing, count);
    add(repairing, "GET", "foo", NULL);
    replies = exec(repairing, 2);
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 0)), 4);
    CHECK_STRING(rs_reply_element(replies, 1), "3"); /* out of order */
    rs_reply_free(replies);
    rs_pipeline_free(repairing);
    rs_pipeline_free(pipeline);
}

static void a_trusted_cache(void) {
    rs_pipeline *transaction = pipeline_with(RS_PIPELINE_ATOMIC | RS_PIPELINE_TRUST_CACHE);
    set_and_multiply(transaction, 1);
    const uint64_t loads = stat_of(client, RS_STAT_SCRIPT_LOADS);
    set_and_multiply(transaction, 1);
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), loads);
    CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
    add(transaction, "SET", "foo", "6");
    add_script(transaction, multiply);
    rs_reply *replies = exec(transaction, 2);
    rs_error *err = error_at(replies, 1);
    CHECK_INT(rs_error_status(err), RS_ERR_NOSCRIPT);
    CHECK(rs_error_is_not_executed(err));
    check_number("foo", 6);
    rs_error_free(err);
    rs_reply_free(replies);
    set_and_multiply(transaction, 1);
    rs_pipeline_free(transaction);
}

static void items_that_fail(void) {
    rs_script *broken = script_of("return ("), *writes = script_of("return redis.call('SET', KEYS[1], '1')");
    rs_script *forged = script_of("return redis.error_reply('NOSCRIPT made up')");
    rs_script *nested = script_of("return {1, {err = 'E x'}}");
    rs_pipeline *pipeline = pipeline_with(0);
    add_script(pipeline, broken);
    add(pipeline, "LPUSH", "foo", "x");
    CHECK_OK(rs_pipeline_script(pipeline, writes, 1, foo, NULL, 0, NULL, NULL, READ_ONLY, &err));
    add_script(pipeline, forged);
    add_script(pipeline, nested);
    add(pipeline, "NO-SUCH-COMMAND", NULL, NULL);
    add(pipeline, "PING", NULL, NULL);
    do_command(client, "SET", "foo", "5", NULL);
    rs_reply *replies = exec(pipeline, 7);
    const struct {
        size_t index;
        rs_status status;
        const char *message, *server_code;
        bool not_executed;
    } failures[] = {
        {0, RS_ERR_COMPILE, "item 0 (EVALSHA): ", "ERR", true},
        {1, RS_ERR_SERVER, "item 1 (LPUSH): WRONGTYPE", "WRONGTYPE", false},
        {2, RS_ERR_SERVER, "item 2 (EVALSHA_RO): ", "ERR", false},
        {3, RS_ERR_SERVER, "item 3 (EVALSHA): NOSCRIPT made up", "NOSCRIPT", false},
        {5, RS_ERR_SERVER, "item 5 (NO-SUCH-COMMAND): ERR unknown command", "ERR", false},
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        rs_error *err = error_at(replies, failures[i].index);
        CHECK_INT(rs_error_status(err), failures[i].status);
        CHECK_HOLDS(rs_error_message(err), failures[i].message);
        CHECK_TEXT(rs_error_server_code(err), failures[i].server_code);
        CHECK_INT(rs_error_is_not_executed(err), failures[i].not_executed);
        CHECK(!rs_error_is_indeterminate(err));
        rs_error_free(err);
    }
    /* An error inside of an item's reply is the script's, and no item. */
    rs_error *err = error_at(rs_reply_element(replies, 4), 1);
    CHECK_INT(rs_error_status(err), RS_ERR_SERVER);
    CHECK_HOLDS(rs_error_message(err), "E x");
    CHECK(strstr(rs_error_message(err), "item") == NULL);
    rs_error_free(err);
    CHECK_STRING(rs_reply_element(replies, 6), "PONG");
    rs_reply_free(replies);

    rs_script *shebang = script_of("#!lua\nreturn 1");
    CHECK_FAILS(RS_ERR_NOT_READ_ONLY, "no-writes",
                rs_pipeline_script(pipeline, shebang, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    rs_script_free(shebang);
    rs_script_free(nested);
    rs_script_free(forged);
    rs_script_free(writes);
    rs_script_free(broken);
    rs_pipeline_free(pipeline);
}

static void refused(rs_pipeline *transaction, rs_status status, const char *part) {
    rs_reply *replies = (rs_reply *)&replies;
    rs_error *err = NULL;
    CHECK_INT(rs_pipeline_exec(transaction, NULL, &replies, &err), status);
    CHECK_NULL(replies);
    CHECK_HOLDS(rs_error_message(err), part);
    CHECK(rs_error_is_not_executed(err) && !rs_error_is_indeterminate(err));
    rs_error_free(err);
    CHECK_INT(rs_pipeline_len(transaction), 0);
    check_number("foo", 5);
}

static void transactions_that_are_refused_run_nothing(void) {
    rs_pipeline *transaction = pipeline_with(RS_PIPELINE_ATOMIC);
    rs_script *broken = script_of("return (");
    do_command(client, "SET", "foo", "5", NULL);
    add_script(transaction, count);
    add(transaction, "GET", NULL, NULL);
    refused(transaction, RS_ERR_TRANSACTION_ABORTED, "item 1 (GET): ERR wrong number of arguments");
    add(transaction, "INCR", "foo", NULL);
    add_script(transaction, broken);
    refused(transaction, RS_ERR_COMPILE, "compiling");
    /* What fails while it runs undoes nothing. */
    add(transaction, "INCR", "foo", NULL);
    add(transaction, "LPUSH", "foo", "x");
    rs_reply *replies = exec(transaction, 2);
    rs_error *err = error_at(replies, 1);
    CHECK_HOLDS(rs_error_message(err), "item 1 (LPUSH): WRONGTYPE");
    CHECK(!rs_error_is_not_executed(err));
    check_number("foo", 6);
    rs_error_free(err);
    rs_reply_free(replies);
    rs_script_free(broken);
    rs_pipeline_free(transaction);
}

static void flags(void) {
    const uint32_t good[] = {0, RS_PIPELINE_ATOMIC, RS_PIPELINE_REPAIR_UNORDERED,
                             RS_PIPELINE_ATOMIC | RS_PIPELINE_TRUST_CACHE};
    for (uint32_t flags = 0; flags < 16; flags++) {
        bool is_good = false;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) is_good = is_good || flags == good[i];
        rs_pipeline *pipeline = (rs_pipeline *)&pipeline;
        if (is_good) {
            CHECK_OK(rs_pipeline_new(client, flags, &pipeline, &err));
            rs_pipeline_free(pipeline);
        } else {
            CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flags", rs_pipeline_new(client, flags, &pipeline, &err));
            CHECK_NULL(pipeline);
        }
    }
    rs_pipeline *pipeline = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flags", rs_pipeline_new(client, UINT32_MAX, &pipeline, &err));
}

static void empty_cleared_and_filled_again(void) {
    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        rs_pipeline *pipeline = pipeline_with(flags);
        const uint64_t trips = stat_of(client, RS_STAT_ROUND_TRIPS);
        rs_reply_free(exec(pipeline, 0));
        CHECK_OK(rs_pipeline_exec(pipeline, NULL, NULL, &err));
        CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS), trips);
        do_command(client, "SET", "foo", "5", NULL);
        add(pipeline, "INCR", "foo", NULL);
        add_script(pipeline, multiply);
        rs_pipeline_clear(pipeline);
        CHECK_INT(rs_pipeline_len(pipeline), 0);
        for (int64_t round = 6; round < 9; round++) {
            add(pipeline, "INCR", "foo", NULL);
            rs_reply *replies = exec(pipeline, 1);
            CHECK_INT(rs_reply_integer(rs_reply_element(replies, 0)), round);
            rs_reply_free(replies);
        }
        add(pipeline, "INCR", "foo", NULL);
        CHECK_OK(rs_pipeline_exec(pipeline, NULL, NULL, &err));
        check_number("foo", 9);
        add(pipeline, "INCR", "foo", NULL);
        rs_pipeline_free(pipeline); /* not sent */
        check_number("foo", 9);
    }
}

static void inputs_are_copied(void) {
    rs_pipeline *pipeline = pipeline_with(0);
    rs_script *script = script_of("return {KEYS[1], ARGV[1]}");
    char key[] = "k\0y", arg[] = "arg";
    const char *keys[] = {key}, *args[] = {arg};
    const size_t lens[] = {3};
    CHECK_OK(rs_pipeline_script(pipeline, script, 1, keys, lens, 1, args, NULL, NULL, &err));
    memset(key, 'x', sizeof key);
    memset(arg, 'x', sizeof arg);
    keys[0] = args[0] = NULL;
    rs_script_free(script);
    rs_reply *replies = exec(pipeline, 1);
    CHECK_BYTES(rs_reply_element(rs_reply_element(replies, 0), 0), "k\0y", 3);
    CHECK_STRING(rs_reply_element(rs_reply_element(replies, 0), 1), "arg");
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
}

static void refused_commands_leave_the_pipeline_as_it_was(void) {
    static const char *const commands[][3] = {{"MULTI", NULL, NULL}, {"EXEC", NULL, NULL},     {"SUBSCRIBE", "c", NULL},
                                              {"MONITOR", NULL, NULL}, {"SELECT", "1", NULL}, {"BLPOP", "list", "0"}};
    rs_pipeline *pipeline = pipeline_with(0), *transaction = pipeline_with(RS_PIPELINE_ATOMIC);
    add(pipeline, "PING", NULL, NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const size_t argc = commands[i][1] == NULL ? 1 : commands[i][2] == NULL ? 2 : 3;
        CHECK_FAILS(RS_ERR_COMMAND_REFUSED, "", rs_pipeline_command(pipeline, argc, commands[i], NULL, NULL, &err));
        CHECK_INT(rs_pipeline_len(pipeline), 1);
    }
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "", rs_pipeline_command(pipeline, 0, NULL, NULL, NULL, &err));
    rs_reply *replies = exec(pipeline, 1);
    CHECK_STRING(rs_reply_element(replies, 0), "PONG");
    rs_reply_free(replies);
    /* Inside MULTI the server lets nothing wait. */
    CHECK_FAILS(RS_ERR_COMMAND_REFUSED, "", rs_pipeline_command(transaction, 1, commands[0], NULL, NULL, &err));
    add(transaction, "BLPOP", "list", "0");
    replies = exec(transaction, 1);
    CHECK_INT(rs_reply_type(rs_reply_element(replies, 0)), RS_REPLY_NIL);
    rs_reply_free(replies);
    rs_pipeline_free(transaction);
    rs_pipeline_free(pipeline);
}

static void a_large_pipeline(void) {
    enum { ITEMS = 100000 };
    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        rs_pipeline *pipeline = pipeline_with(flags);
        do_command(client, "DEL", "foo", NULL);
        for (int i = 0; i < ITEMS; i++) {
            if (i % 2 == 0) add_script(pipeline, count);
            else add(pipeline, "INCR", "foo", NULL);
        }
        CHECK_INT(rs_pipeline_len(pipeline), ITEMS);
        rs_reply *replies = exec(pipeline, ITEMS);
        for (int i = 0; i < ITEMS; i++) CHECK_INT(rs_reply_integer(rs_reply_element(replies, (size_t)i)), i + 1);
        rs_reply_free(replies);
        rs_pipeline_free(pipeline);
    }
}

static void a_closed_client(void) {
    rs_client *closing = open_client(server_url(redis));
    rs_pipeline *pipeline = NULL;
    CHECK_OK(rs_pipeline_new(closing, 0, &pipeline, &err));
    do_command(client, "SET", "foo", "5", NULL);
    add(pipeline, "INCR", "foo", NULL);
    /* The pipeline keeps it open. */
    rs_client_free(closing);
    rs_reply *replies = exec(pipeline, 1);
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 0)), 6);
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);

    closing = open_client(server_url(redis));
    do_command(client, "SET", "foo", "5", NULL);
    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        CHECK_OK(rs_pipeline_new(closing, flags, &pipeline, &err));
        add(pipeline, "INCR", "foo", NULL);
        rs_client_close(closing);
        refused(pipeline, RS_ERR_CLOSED, "");
        rs_pipeline_free(pipeline);
    }
    rs_client_free(closing);
}

typedef struct {
    rs_pipeline *pipeline;
    rs_reply *replies;
    rs_error *err;
    rs_status status;
} execution;

static void *execute(void *context) {
    execution *const e = context;
    e->status = rs_pipeline_exec(e->pipeline, NULL, &e->replies, &e->err);
    return NULL;
}

static bool is_busy(rs_client *watcher) {
    const char *ping[] = {"PING"};
    return rs_client_command(watcher, 1, ping, NULL, NULL, NULL, NULL) == RS_ERR_BUSY;
}

/* The last script never ends; the server is killed while it runs. The items before fill more than the server reads at
   once, so that their replies leave before. */
static void a_server_that_dies(void) {
    enum { ITEMS = 1500 };
    char text[101];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rs_script *endless = script_of("if ARGV[1] == '5' then while true do end end return 1");
    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        server *const mortal = server_start();
        rs_client *doomed = open_client(server_url(mortal)), *watcher = open_client(server_url(mortal));
        execution e = {0};
        pthread_t thread;
        CHECK_OK(rs_script_call(endless, doomed, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_new(doomed, flags, &e.pipeline, &err));
        for (int i = 0; i < ITEMS; i++) add(e.pipeline, "ECHO", text, NULL);
        add_script(e.pipeline, endless);
        add(e.pipeline, "PING", NULL, NULL);
        CHECK(pthread_create(&thread, NULL, execute, &e) == 0);
        WAIT_UNTIL(is_busy(watcher));
        server_stop(mortal);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK_INT(e.status, RS_ERR_INDETERMINATE);
        CHECK(rs_error_is_indeterminate(e.err) && !rs_error_is_not_executed(e.err));
        CHECK_INT(rs_pipeline_len(e.pipeline), 0);
        if (flags == RS_PIPELINE_ATOMIC) {
            CHECK_NULL(e.replies);
        } else {
            const size_t arrived = rs_reply_len(e.replies);
            CHECK(arrived > 0 && arrived <= ITEMS);
            for (size_t i = 0; i < arrived; i++) CHECK_STRING(rs_reply_element(e.replies, i), text);
        }
        rs_error_free(e.err);
        rs_reply_free(e.replies);
        rs_pipeline_free(e.pipeline);
        rs_client_free(watcher);
        rs_client_free(doomed);
    }
    rs_script_free(endless);
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    other = open_client(server_url(redis));
    multiply = script_of("return redis.call('GET', KEYS[1]) * ARGV[1]");
    count = script_of("return redis.call('INCR', KEYS[1])");
    RUN(one_round_trip_cold_and_warm);
    RUN(a_transaction_survives_a_flush);
    RUN(a_flush_before_a_pipeline);
    RUN(a_trusted_cache);
    RUN(items_that_fail);
    RUN(transactions_that_are_refused_run_nothing);
    RUN(flags);
    RUN(empty_cleared_and_filled_again);
    RUN(inputs_are_copied);
    RUN(refused_commands_leave_the_pipeline_as_it_was);
    RUN(a_large_pipeline);
    RUN(a_closed_client);
    RUN(a_server_that_dies);
    rs_script_free(count);
    rs_script_free(multiply);
    rs_client_free(other);
    rs_client_free(client);
}
