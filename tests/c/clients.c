/* Clients: two servers, deadlines, closing, what calls cost, options, routes, replicas, script administration. */
#include "support/check.h"
#include "support/server.h"

static server *one, *two;
static const char multiply_lua[] = "return redis.call('GET', KEYS[1]) * ARGV[1]";
static const char *const foo[] = {"foo"}, *const five[] = {"5"};

static rs_script *multiply_on(rs_client *client) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(client, multiply_lua, strlen(multiply_lua), NULL, &script, &err));
    return script;
}

static int64_t product(const rs_script *multiply, rs_client *client) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(multiply, client, 1, foo, NULL, 1, five, NULL, NULL, &reply, &err));
    const int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

/* One script on the client that it was registered with, on another, over a Unix socket and TCP, and with a cache that
   was lost. */
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
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_script_call(multiply, NULL, 1, foo, NULL, 1, five, NULL, NULL, NULL, &err));
    CHECK_INT(product(multiply, second), 15);
    rs_script_free(multiply);
    rs_client_free(second);
}

static void a_closed_client(void) {
    rs_client *client = open_client(server_url(one)), *view = NULL;
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 1000), &view, &err));
    rs_script *multiply = multiply_on(client);
    rs_client_close(view);
    rs_client_close(client); /* again is fine */
    const char *ping[] = {"PING"};
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_command(client, 1, ping, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_command(view, 1, ping, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_script_call(multiply, NULL, 1, foo, NULL, 1, five, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_script_load(client, multiply, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_script_kill(client, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "", rs_client_kill(client, NULL, &err));
    rs_error *err = NULL;
    CHECK(rs_client_command(client, 1, ping, NULL, NULL, NULL, &err) != RS_OK);
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
    rs_script_free(multiply);
    rs_client_free(view);
    rs_client_free(client);
}

/* The late reply must not surface in the next call. */
static void a_deadline_of_its_own(void) {
    rs_client *client = open_client(server_url(one)), *view = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "timeout_ms",
                rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = UINT64_MAX), &view, &err));
    CHECK_NULL(view);
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 300), &view, &err));
    rs_client *control = open_client(server_url(one));
    const char late[] = "return 'late'";
    rs_script *script = NULL;
    rs_error *err = NULL;
    CHECK_OK(rs_script_register(client, late, strlen(late), NULL, &script, &err));
    /* A script may write: it is answered when that is over. */
    do_command(control, "CLIENT", "PAUSE", "600000", "WRITE", NULL);
    CHECK_INT(rs_script_call(script, view, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err), RS_ERR_INDETERMINATE);
    CHECK(rs_error_is_indeterminate(err));
    CHECK(!rs_error_is_not_executed(err));
    rs_error_free(err);
    do_command(control, "CLIENT", "UNPAUSE", NULL);
    rs_client_free(control);
    rs_reply *reply = command(client, "ECHO", "next", NULL);
    CHECK_STRING(reply, "next");
    rs_reply_free(reply);
    /* The script's own client has the time. */
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
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
    for (int32_t wrong = -1; wrong <= RS_READ_FROM_REPLICA + 1; wrong += RS_READ_FROM_REPLICA + 2)
        CHECK_FAILS(RS_ERR_INVALID_OPTION, "read_from", rs_options_set_read_from(options, wrong, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "map_address", rs_options_map_address(options, "10.0.0.1", "10.0.0.2:1", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "map_address",
                rs_options_map_address(options, "redis://10.0.0.1:1", "a:1", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "sentinel_username", rs_options_set_sentinel_username(options, "", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_connect_timeout_ms(options, 0, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_call_timeout_ms(options, 0, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "silence", rs_options_set_silence_timeout_ms(options, 0, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_client_name(options, "two words", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_keepalive_ms(options, 32767001, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_reconnect_backoff_ms(options, 2, 1, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_max_reply_bytes(options, 65535, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "", rs_options_set_max_reply_depth(options, 7, &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "protocol", rs_options_set_protocol(options, 1, &err));
    CHECK_OK(rs_options_set_client_name(options, "tester", &err));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 4000, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 9000, &err));
    CHECK_OK(rs_options_set_silence_timeout_ms(options, 700, &err));
    CHECK_OK(rs_options_set_keepalive_ms(options, 0, &err));
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
    CHECK_FAILS(RS_ERR_REPLY_LIMIT, "", rs_client_command(client, 3, eval, NULL, NULL, NULL, &err));
    do_command(client, "PING", NULL);
    rs_client_free(client);
}

/* What only makes sense together is checked when a client is opened. */
static void urls_and_options_that_do_not_fit(void) {
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("redis+cluster://", options, &client, &err));
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("redis+cluster://a:1,,b:1", options, &client, &err));
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("redis+sentinel://a:1,b:1", options, &client, &err));
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("redis+nothing://a:1", options, &client, &err));
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_client_open("redis+cluster://a,[::1]:7000", options, &client, &err));
    rs_client_free(client);
    CHECK_OK(rs_options_set_sentinel_username(options, "watcher", &err));
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "sentinel_username",
                rs_client_open("redis+sentinel://a,b/service", options, &client, &err));
    CHECK_OK(rs_options_set_sentinel_password(options, "p\0q", 3, &err));
    CHECK_OK(rs_client_open("redis+sentinel://a,b/service/3", options, &client, &err));
    rs_client_free(client);
    CHECK_FAILS(RS_ERR_INVALID_OPTION, "sentinel", rs_client_open("redis://a", options, &client, &err));
    CHECK_NULL(client);
    rs_options_free(options);
}

static void routes_that_cannot_be(void) {
    rs_client *client = open_client(server_url(one)), *view = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "read_from",
                rs_client_with(client, RS_CALL_OPTIONS(.read_from = -1), &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "read_from",
                rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA + 1), &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "16384", rs_client_with(client, TO_SLOT(16384), &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "65535", rs_client_with(client, TO_SLOT(UINT16_MAX), &view, &err));
    const char *const nodes[] = {"", "127.0.0.1", "127.0.0.1:", ":6379", "127.0.0.1:65536", "[::1", "redis://a:1"};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "host:port", rs_client_with(client, TO_NODE(nodes[i]), &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "route_to", rs_client_with(client, TO_KEY("foo", SIZE_MAX), &view, &err));
    CHECK_NULL(view);
    rs_client_free(client);
}

/* They all lead to the only server. */
static void routes_on_a_single_server(void) {
    rs_client *client = open_client(server_tcp_url(two)), *views[6];
    rs_script *multiply = multiply_on(client), *without_keys = NULL;
    rs_pipeline *pipeline = NULL;
    rs_reply *reply = NULL;
    do_command(client, "SET", "foo", "3", NULL);
    CHECK_OK(rs_script_register(client, "return 7", 8, NULL, &without_keys, &err));
    CHECK_OK(rs_client_with(client, TO_KEY("a\0b", 3), &views[0], &err));
    CHECK_OK(rs_client_with(client, TO_KEY(NULL, 0), &views[1], &err)); /* a key may be empty */
    CHECK_OK(rs_client_with(client, TO_SLOT(16383), &views[2], &err));
    CHECK_OK(rs_client_with(client, TO_NODE("example.org:1"), &views[3], &err));
    CHECK_OK(rs_client_with(client, TO_NODE(server_tcp_url(two) + strlen("redis://")), &views[4], &err));
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PREFER_REPLICA), &views[5], &err));
    for (int i = 0; i < 6; i++) {
        CHECK_INT(product(multiply, views[i]), 15);
        CHECK_OK(rs_script_call(without_keys, views[i], 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &reply, &err));
        CHECK_INT(rs_reply_integer(reply), 7);
        rs_reply_free(reply);
        do_command(views[i], "DBSIZE", NULL);
        rs_client_free(views[i]);
    }

    rs_client *all = NULL;
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), &all, &err));
    reply = command(all, "ECHO", "hello", NULL);
    CHECK_INT(rs_reply_type(reply), RS_REPLY_MAP);
    CHECK_INT(rs_reply_len(reply), 2);
    CHECK_STRING(rs_reply_element(reply, 0), server_tcp_url(two) + strlen("redis://"));
    CHECK_STRING(rs_reply_element(reply, 1), "hello");
    rs_reply_free(reply);
    CHECK_OK(rs_script_call(without_keys, all, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_len(reply), 2);
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 1)), 7);
    rs_reply_free(reply);
    const char *const ping[] = {"PING"};
    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        CHECK_OK(rs_pipeline_new(all, flags, &pipeline, &err));
        CHECK_OK(rs_pipeline_command(pipeline, 1, ping, NULL, NULL, &err));
        CHECK_FAILS(RS_ERR_NO_ROUTE, "", rs_pipeline_exec(pipeline, NULL, &reply, &err));
        CHECK_NULL(reply);
        rs_pipeline_free(pipeline);
    }
    rs_client_free(all);
    rs_script_free(without_keys);
    rs_script_free(multiply);
    rs_client_free(client);
}

/* Whether the server that runs a read-only script is "master" or "slave". */
static void check_role(const rs_script *role, rs_client *client, const char *want) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(role, client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &reply, &err));
    CHECK_STRING(reply, want);
    rs_reply_free(reply);
}

static int is_following(rs_client *replica) {
    rs_reply *info = command(replica, "INFO", "replication", NULL);
    const int is_following = strstr(rs_reply_string(info, NULL), "master_link_status:up") != NULL;
    rs_reply_free(info);
    return is_following;
}

static void read_only_calls_on_a_replica(void) {
    static const char lua[] = "return redis.call('INFO', 'replication'):match('role:(%a+)')";
    server *follower = server_start();
    rs_client *replica = open_client(server_url(follower)), *client = NULL, *view = NULL;
    rs_options *options = rs_options_new();
    rs_script *role = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", server_port(one));
    do_command(replica, "REPLICAOF", "127.0.0.1", port, NULL);
    WAIT_UNTIL(is_following(replica));
    CHECK_OK(rs_script_register(NULL, lua, strlen(lua), NULL, &role, &err));

    CHECK_OK(rs_options_set_read_from(options, RS_READ_FROM_REPLICA, &err));
    CHECK_OK(rs_client_open(server_tcp_url(one), options, &client, &err));
    check_role(role, client, "slave");
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(role, client, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err)); /* not read-only */
    CHECK_STRING(reply, "master");
    rs_reply_free(reply);
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PRIMARY), &view, &err));
    check_role(role, view, "master");
    rs_client_free(view);
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PREFER_REPLICA), &view, &err));
    check_role(role, view, "slave");

    /* Without it, the one falls back and the other does not. */
    rs_client_free(replica);
    server_stop(follower);
    check_role(role, view, "master");
    CHECK_FAILS(RS_ERR_CONNECT, "replica",
                rs_script_call(role, client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    rs_options_free(options);
    rs_client_free(view);
    rs_client_free(client);
    rs_script_free(role);
}

static void administration(void) {
    rs_client *client = open_client(server_url(one));
    rs_script *multiply = multiply_on(client);
    const char *shas[] = {rs_script_sha(multiply), "0000000000000000000000000000000000000000"};
    bool exists[2];
    for (int32_t mode = RS_FLUSH_DEFAULT; mode <= RS_FLUSH_ASYNC; mode++) {
        CHECK_OK(rs_client_script_load(client, multiply, &err));
        CHECK_OK(rs_client_script_exists(client, 2, shas, NULL, exists, &err));
        CHECK(exists[0] && !exists[1]);
        CHECK_OK(rs_client_script_flush(client, mode, &err));
        CHECK_OK(rs_client_script_exists(client, 2, shas, NULL, exists, &err));
        CHECK(!exists[0] && !exists[1]);
    }
    CHECK_OK(rs_client_script_exists(client, 0, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "mode", rs_client_script_flush(client, 3, &err));
    rs_error *err = NULL;
    CHECK_INT(rs_client_script_kill(client, &err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "NOTBUSY");
    rs_error_free(err);
    CHECK_INT(rs_client_kill(client, NULL, &err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "NOTBUSY");
    rs_error_free(err);
    rs_reply *source = NULL;
    const rs_status shown = rs_client_script_show(client, shas[1], strlen(shas[1]), &source, &err);
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
    RUN(urls_and_options_that_do_not_fit);
    RUN(routes_that_cannot_be);
    RUN(routes_on_a_single_server);
    RUN(read_only_calls_on_a_replica);
    RUN(administration);
}
