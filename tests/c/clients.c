/* Clients: two servers, deadlines, closing, what calls cost, options, script administration. */
#include "support/check.h"
#include "support/server.h"

static server *one, *two;
static const char multiply_lua[] = "return redis.call('GET', KEYS[1]) * ARGV[1]";
static const char *const foo[] = {"foo"}, *const five[] = {"5"};

static rs_script *multiply_on(const rs_client *client) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(client, multiply_lua, strlen(multiply_lua), &script, &err));
    return script;
}

static int64_t product(const rs_script *multiply, const rs_client *client) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(multiply, client, 1, foo, NULL, 1, five, NULL, &reply, &err));
    const int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

/* One script on the client that it was registered with, on another, over a Unix socket and TCP, and with a cache that was lost. */
static void two_servers(void) {
    rs_client *first = open_client(server_url(one)), *second = open_client(server_tcp_url(two));
    rs_script *multiply = multiply_on(first);
    do_command(first, "SET", "foo", "2", NULL);
    do_command(second, "SET", "foo", "3", NULL);
    CHECK_INT(product(multiply, NULL), 10);
    CHECK_INT(product(multiply, second), 15);
    CHECK_INT(product(multiply, first), 10);

    rs_client *other = open_client(server_url(one));
    CHECK_OK(rs_client_script_flush(other, RS_FLUSH_SYNC, &err));
    CHECK_INT(product(multiply, NULL), 10);
    CHECK_INT(stat_of(first, RS_STAT_NOSCRIPT_REPAIRS), 1);
    rs_client_free(other);
    rs_script_free(multiply);
    rs_client_free(first);
    rs_client_free(second);
}

static void registered_client_freed(void) {
    rs_client *first = open_client(server_url(one)), *second = open_client(server_url(two));
    rs_script *multiply = multiply_on(first);
    do_command(second, "SET", "foo", "3", NULL);
    rs_client_free(first);
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_script_call(multiply, NULL, 1, foo, NULL, 1, five, NULL, NULL, &err));
    CHECK_INT(product(multiply, second), 15);
    rs_script_free(multiply);
    rs_client_free(second);
}

static void a_closed_client(void) {
    rs_client *client = open_client(server_url(one)), *view = NULL;
    CHECK_OK(rs_client_with_timeout(client, 1000, &view, &err));
    rs_script *multiply = multiply_on(client);
    rs_client_close(view);
    rs_client_close(client); /* again is fine */
    const char *ping[] = {"PING"};
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_command(client, 1, ping, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_command(view, 1, ping, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_script_call(multiply, NULL, 1, foo, NULL, 1, five, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_script_load(client, multiply, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_script_kill(client, &err));
    rs_error *err = NULL;
    CHECK(rs_client_command(client, 1, ping, NULL, NULL, &err) != RS_OK);
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
    rs_script_free(multiply);
    rs_client_free(view);
    rs_client_free(client);
}

/* The late reply must not surface in the next call. */
static void a_deadline_of_its_own(void) {
    rs_client *client = open_client(server_url(one)), *view = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "timeout_ms", rs_client_with_timeout(client, 0, &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "timeout_ms", rs_client_with_timeout(client, UINT64_MAX, &view, &err));
    CHECK_NULL(view);
    CHECK_OK(rs_client_with_timeout(client, 50, &view, &err));
    const char slow[] = "local t = redis.call('TIME') local stop = t[1] * 1000000 + t[2] + 300000\n"
                        "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > stop return 'late'";
    rs_script *script = NULL;
    rs_error *err = NULL;
    CHECK_OK(rs_script_register(client, slow, strlen(slow), &script, &err));
    CHECK_INT(rs_script_call(script, view, 0, NULL, NULL, 0, NULL, NULL, NULL, &err), RS_ERR_INDETERMINATE);
    CHECK(rs_error_is_indeterminate(err));
    CHECK(!rs_error_is_not_executed(err));
    rs_error_free(err);
    rs_reply *reply = command(client, "ECHO", "next", NULL);
    CHECK_STRING(reply, "next");
    rs_reply_free(reply);
    /* The script's own client has the time. */
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, &reply, &err));
    CHECK_STRING(reply, "late");
    rs_reply_free(reply);
    rs_script_free(script);
    rs_client_free(view);
    rs_client_free(client);
}

static void what_calls_cost(void) {
    rs_client *client = open_client(server_url(one));
    rs_script *multiply = multiply_on(client);
    do_command(client, "SCRIPT", "FLUSH", NULL);
    uint64_t trips = stat_of(client, RS_STAT_ROUND_TRIPS), calls = stat_of(client, RS_STAT_CALLS);
    CHECK_INT(product(multiply, NULL), 10);
    CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - trips, 1); /* it was loaded on the way */
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), 1);
    CHECK_INT(stat_of(client, RS_STAT_CALLS) - calls, 1);
    const uint64_t sent = stat_of(client, RS_STAT_BYTES_SENT), received = stat_of(client, RS_STAT_BYTES_RECEIVED);
    trips = stat_of(client, RS_STAT_ROUND_TRIPS);
    CHECK_INT(product(multiply, NULL), 10);
    CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - trips, 1);
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), 1);
    CHECK(stat_of(client, RS_STAT_BYTES_SENT) > sent);
    CHECK_INT(stat_of(client, RS_STAT_BYTES_RECEIVED) - received, strlen(":10\r\n"));
    CHECK_INT(stat_of(client, RS_STAT_IN_FLIGHT), 0);
    CHECK_INT(stat_of(client, RS_STAT_RECONNECTS), 0);
    CHECK_INT(stat_of(client, RS_STAT_REDIRECTS), 0);

    /* Fewer and more places than there are figures. */
    uint64_t values[RS_STAT_COUNT + 2];
    memset(values, 0xff, sizeof values);
    CHECK_INT(rs_client_stats(client, values, 1), RS_STAT_COUNT);
    CHECK(values[0] == stat_of(client, RS_STAT_CALLS) && values[1] == UINT64_MAX);
    CHECK_INT(rs_client_stats(client, values, RS_STAT_COUNT + 1), RS_STAT_COUNT);
    CHECK(values[RS_STAT_COUNT] == 0 && values[RS_STAT_COUNT + 1] == UINT64_MAX);
    rs_script_free(multiply);
    rs_client_free(client);
}

static void options(void) {
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_connect_timeout_ms(options, 0, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_call_timeout_ms(options, 0, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_client_name(options, "two words", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_keepalive_s(options, 32768, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_reconnect_backoff_ms(options, 2, 1, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_max_reply_bytes(options, 65535, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_max_reply_depth(options, 7, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "protocol", rs_options_set_protocol(options, 1, &err));
    CHECK_OK(rs_options_set_client_name(options, "tester", &err));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 4000, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 9000, &err));
    CHECK_OK(rs_options_set_keepalive_s(options, 0, &err));
    CHECK_OK(rs_options_set_reconnect_backoff_ms(options, 1, 10, &err));
    CHECK_OK(rs_options_set_reconnect_attempts(options, 0, &err));
    CHECK_OK(rs_options_set_max_reply_bytes(options, 65536, &err));
    CHECK_OK(rs_options_set_max_reply_depth(options, 8, &err));
    CHECK_OK(rs_client_open(server_url(one), options, &client, &err));
    rs_options_free(options); /* copied */
    rs_reply *reply = command(client, "CLIENT", "GETNAME", NULL);
    CHECK_STRING(reply, "tester");
    rs_reply_free(reply);
    const char *eval[] = {"EVAL", "return string.rep('x', 100000)", "0"};
    CHECK_FAILS(RS_ERR_REPLY_LIMIT, "", rs_client_command(client, 3, eval, NULL, NULL, &err));
    do_command(client, "PING", NULL);
    rs_client_free(client);
}

static void administration(void) {
    rs_client *client = open_client(server_url(one));
    rs_script *multiply = multiply_on(client);
    const char *shas[] = {rs_script_sha(multiply), "0000000000000000000000000000000000000000"};
    bool exists[2];
    for (int32_t mode = RS_FLUSH_DEFAULT; mode <= RS_FLUSH_ASYNC; mode++) {
        CHECK_OK(rs_client_script_load(client, multiply, &err));
        CHECK_OK(rs_client_script_exists(client, 2, shas, exists, &err));
        CHECK(exists[0] && !exists[1]);
        CHECK_OK(rs_client_script_flush(client, mode, &err));
        CHECK_OK(rs_client_script_exists(client, 2, shas, exists, &err));
        CHECK(!exists[0] && !exists[1]);
    }
    CHECK_OK(rs_client_script_exists(client, 0, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "mode", rs_client_script_flush(client, 3, &err));
    rs_error *err = NULL;
    CHECK_INT(rs_client_script_kill(client, &err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "NOTBUSY");
    rs_error_free(err);
    rs_reply *source = NULL;
    const rs_status shown = rs_client_script_show(client, shas[1], &source, &err);
    CHECK(shown == RS_OK || shown == RS_ERR_NOT_SUPPORTED); /* Valkey 8, Redis */
    CHECK_NULL(source);
    rs_error_free(err);
    rs_script_free(multiply);
    rs_client_free(client);
}

int main(void) {
    one = server_start();
    two = server_start();
    RUN(two_servers);
    RUN(registered_client_freed);
    RUN(a_closed_client);
    RUN(a_deadline_of_its_own);
    RUN(what_calls_cost);
    RUN(options);
    RUN(administration);
}
