/* NULL for every pointer of every export in turn: an error that names the parameter, or nothing at all, and every
   output set. A check compares this file with the header, so an export that is missing here is found. */
#include "support/check.h"
#include "support/server.h"

static rs_client *client;
static rs_script *script;
static rs_reply *reply; /* an integer */
static rs_options *options;

static const char *const words[] = {"GET", "foo"};
static const char sha[] = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

/* A pointer to nothing in particular, to see outputs being set. */
#define STALE ((void *)&client)

/* Calls with an error and without a place for one. */
#define REFUSES(parameter, call)                                                                                       \
    do {                                                                                                               \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, parameter " is NULL", call(&err));                                        \
        CHECK_INT(call(NULL), RS_ERR_INVALID_ARGUMENT);                                                                \
    } while (0)

static void opening_and_closing(void) {
    rs_client *out = STALE;
#define CALL(err) rs_client_open(NULL, NULL, &out, err)
    REFUSES("url", CALL);
#undef CALL
    CHECK_NULL(out);
#define CALL(err) rs_client_open("redis://127.0.0.1", NULL, NULL, err)
    REFUSES("client", CALL);
#undef CALL
    rs_client_close(NULL);
    rs_client_free(NULL);
}

static void views(void) {
    rs_client *out;
/* A view of no client, and a view without a place for it. */
#define VIEW(call)                                                                                                     \
    do {                                                                                                               \
        out = STALE;                                                                                                   \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "client is NULL", call(NULL, &out, &err));                                \
        CHECK_NULL(out);                                                                                               \
        CHECK_INT(call(NULL, &out, NULL), RS_ERR_INVALID_ARGUMENT);                                                    \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "view is NULL", call(client, NULL, &err));                                \
        CHECK_INT(call(client, NULL, NULL), RS_ERR_INVALID_ARGUMENT);                                                  \
    } while (0)
#define CALL(client, view, err) rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 1), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PRIMARY), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, TO_KEY("foo", 3), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, TO_SLOT(0), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, TO_NODE("a:1"), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), view, err)
    VIEW(CALL);
#undef CALL
#define CALL(client, view, err) rs_client_with(client, NULL, view, err)
    VIEW(CALL);
#undef CALL
#undef VIEW
    out = STALE;
#define CALL(err) rs_client_with(client, TO_KEY(NULL, 1), &out, err)
    REFUSES("options.route_to", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_client_with(client, RS_CALL_OPTIONS(.route = RS_ROUTE_NODE, .route_len = 1), &out, err)
    REFUSES("options.route_to", CALL);
#undef CALL
    CHECK_NULL(out);
}

static void commands(void) {
    rs_reply *out = STALE;
    const char *const with_null[] = {"GET", NULL};
    const size_t lengths[] = {3, 3};
#define CALL(err) rs_client_command(NULL, 2, words, NULL, NULL, &out, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_client_command(client, 2, NULL, NULL, NULL, &out, err)
    REFUSES("argv", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_client_command(client, 2, with_null, NULL, NULL, &out, err)
    REFUSES("argv[1]", CALL);
#undef CALL
    CHECK_NULL(out);
#define CALL(err) rs_client_command(client, 2, with_null, lengths, NULL, &out, err)
    REFUSES("argv[1]", CALL);
#undef CALL
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "", rs_client_command(client, 0, NULL, NULL, NULL, &out, &err));
    CHECK_OK(rs_client_command(client, 2, words, NULL, NULL, NULL, &err));
    CHECK_INT(rs_client_command(client, 2, words, NULL, NULL, NULL, NULL), RS_OK);
}

static void registering(void) {
    rs_script *out = STALE;
#define CALL(err) rs_script_register(client, NULL, 8, NULL, &out, err)
    REFUSES("lua", CALL);
#undef CALL
    CHECK_NULL(out);
#define CALL(err) rs_script_register(client, "return 1", 8, NULL, NULL, err)
    REFUSES("script", CALL);
#undef CALL
    out = STALE;
#define CALL(err) rs_script_register(client, "return 1", 8, RS_SCRIPT_OPTIONS(.name_len = 1), &out, err)
    REFUSES("options.name", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flags",
                rs_script_register(client, "return 1", 8, RS_SCRIPT_OPTIONS(.flags = 8), &out, &err));
    CHECK_NULL(out);
    CHECK_TEXT(rs_script_sha(NULL), "");
    CHECK_TEXT(rs_script_name(NULL), "");
    rs_script_free(NULL);
    /* No client and no source are fine; a call then has to name a client. */
    CHECK_OK(rs_script_register(NULL, NULL, 0, NULL, &out, &err));
#define CALL(err) rs_script_call(out, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, err)
    REFUSES("client", CALL);
#undef CALL
    rs_script_free(out);
}

static void libraries(void) {
    static const char source[] = "#!lua name=n\nredis.register_function('f', function() return 1 end)";
    rs_library *library = STALE;
    rs_script *out = STALE;
#define CALL(err) rs_library_register(client, NULL, 8, NULL, &library, err)
    REFUSES("source", CALL);
#undef CALL
    CHECK_NULL(library);
#define CALL(err) rs_library_register(client, source, sizeof source - 1, NULL, NULL, err)
    REFUSES("library", CALL);
#undef CALL
    CHECK_OK(rs_library_register(client, source, sizeof source - 1, NULL, &library, &err));
#define CALL(err) rs_library_function(NULL, "f", 1, NULL, &out, err)
    REFUSES("library", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_library_function(library, NULL, 1, NULL, &out, err)
    REFUSES("name", CALL);
#undef CALL
    CHECK_NULL(out);
#define CALL(err) rs_library_function(library, "f", 1, NULL, NULL, err)
    REFUSES("script", CALL);
#undef CALL
    rs_reply *reply = STALE;
#define ADMINISTERS(call)                                                                                              \
    do {                                                                                                               \
        reply = STALE;                                                                                                 \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "client is NULL", call(NULL, library, &reply, &err));                     \
        CHECK_NULL(reply);                                                                                             \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "library is NULL", call(client, NULL, &reply, &err));                     \
        CHECK_NULL(reply);                                                                                             \
        CHECK_INT(call(NULL, NULL, NULL, NULL), RS_ERR_INVALID_ARGUMENT);                                              \
    } while (0)
    ADMINISTERS(rs_client_library_load);
    ADMINISTERS(rs_client_library_check);
    ADMINISTERS(rs_client_library_deploy);
#undef ADMINISTERS
#define CALL(err) rs_client_library_list(NULL, &reply, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_client_library_list(client, NULL, err)
    REFUSES("libraries", CALL);
#undef CALL
    const rs_library *const keep[] = {library, NULL};
#define CALL(err) rs_client_library_prune(NULL, 1, keep, &reply, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "NULL", rs_client_library_prune(client, 1, NULL, &reply, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "NULL", rs_client_library_prune(client, 2, keep, &reply, &err));
    CHECK_TEXT(rs_library_name(NULL), "");
    CHECK_TEXT(rs_script_function_name(NULL), "");
    rs_library_free(library);
    rs_library_free(NULL);
}

static void calling_with(const rs_call_options *options) {
    rs_reply *out = STALE;
    const char *const with_null[] = {"a", NULL};
#define CALL(err) rs_script_call(NULL, client, 0, NULL, NULL, 0, NULL, NULL, options, &out, err)
    REFUSES("script", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_script_call(script, NULL, 2, NULL, NULL, 0, NULL, NULL, options, &out, err)
    REFUSES("keys", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_script_call(script, NULL, 2, with_null, NULL, 0, NULL, NULL, options, &out, err)
    REFUSES("keys[1]", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_script_call(script, NULL, 0, NULL, NULL, 2, NULL, NULL, options, &out, err)
    REFUSES("args", CALL);
#undef CALL
    CHECK_NULL(out);
    out = STALE;
#define CALL(err) rs_script_call(script, NULL, 0, NULL, NULL, 2, with_null, NULL, options, &out, err)
    REFUSES("args[1]", CALL);
#undef CALL
    CHECK_NULL(out);
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, options, NULL, &err));
    CHECK_INT(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, options, NULL, NULL), RS_OK);
}

static void calling(void) {
    calling_with(NULL);
    calling_with(READ_ONLY);
}

static void administration(void) {
    bool exists[2] = {true, true};
    const char *const shas[] = {sha, sha}, *const with_null[] = {sha, NULL};
    rs_reply *source = STALE;
#define CALL(err) rs_client_script_load(NULL, script, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_client_script_load(client, NULL, err)
    REFUSES("script", CALL);
#undef CALL
#define CALL(err) rs_client_script_exists(NULL, 2, shas, NULL, exists, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK(!exists[0] && !exists[1]);
    exists[0] = exists[1] = true;
#define CALL(err) rs_client_script_exists(client, 2, NULL, NULL, exists, err)
    REFUSES("shas", CALL);
#undef CALL
    CHECK(!exists[0] && !exists[1]);
#define CALL(err) rs_client_script_exists(client, 2, with_null, NULL, exists, err)
    REFUSES("shas[1]", CALL);
#undef CALL
#define CALL(err) rs_client_script_exists(client, 2, shas, NULL, NULL, err)
    REFUSES("exists", CALL);
#undef CALL
#define CALL(err) rs_client_script_flush(NULL, RS_FLUSH_SYNC, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_client_script_kill(NULL, err)
    REFUSES("client", CALL);
#undef CALL
    source = STALE;
#define CALL(err) rs_client_kill(NULL, &source, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_NULL(source);
    source = STALE;
#define CALL(err) rs_client_script_show(NULL, sha, strlen(sha), &source, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_NULL(source);
    source = STALE;
#define CALL(err) rs_client_script_show(client, NULL, 0, &source, err)
    REFUSES("sha", CALL);
#undef CALL
    CHECK_NULL(source);
#define CALL(err) rs_client_script_show(client, sha, strlen(sha), NULL, err)
    REFUSES("source", CALL);
#undef CALL
}

static void appending_with(const rs_call_options *options, rs_pipeline *pipeline) {
    const char *const with_null[] = {"a", NULL};
#define CALL(err) rs_pipeline_script(NULL, script, 0, NULL, NULL, 0, NULL, NULL, options, err)
    REFUSES("pipeline", CALL);
#undef CALL
#define CALL(err) rs_pipeline_script(pipeline, NULL, 0, NULL, NULL, 0, NULL, NULL, options, err)
    REFUSES("script", CALL);
#undef CALL
#define CALL(err) rs_pipeline_script(pipeline, script, 2, NULL, NULL, 0, NULL, NULL, options, err)
    REFUSES("keys", CALL);
#undef CALL
#define CALL(err) rs_pipeline_script(pipeline, script, 2, with_null, NULL, 0, NULL, NULL, options, err)
    REFUSES("keys[1]", CALL);
#undef CALL
#define CALL(err) rs_pipeline_script(pipeline, script, 0, NULL, NULL, 2, NULL, NULL, options, err)
    REFUSES("args", CALL);
#undef CALL
#define CALL(err) rs_pipeline_script(pipeline, script, 0, NULL, NULL, 2, with_null, NULL, options, err)
    REFUSES("args[1]", CALL);
#undef CALL
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    CHECK_INT(rs_pipeline_script(pipeline, script, 0, NULL, NULL, 0, NULL, NULL, options, NULL), RS_OK);
    rs_pipeline_clear(pipeline);
}

static void pipelines(void) {
    rs_pipeline *pipeline = STALE;
    rs_reply *out = STALE;
    const char *const with_null[] = {"GET", NULL};
#define CALL(err) rs_pipeline_new(NULL, 0, &pipeline, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_NULL(pipeline);
#define CALL(err) rs_pipeline_new(client, 0, NULL, err)
    REFUSES("pipeline", CALL);
#undef CALL
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
#define CALL(err) rs_pipeline_command(NULL, 2, words, NULL, NULL, err)
    REFUSES("pipeline", CALL);
#undef CALL
#define CALL(err) rs_pipeline_command(pipeline, 2, NULL, NULL, NULL, err)
    REFUSES("argv", CALL);
#undef CALL
#define CALL(err) rs_pipeline_command(pipeline, 2, with_null, NULL, NULL, err)
    REFUSES("argv[1]", CALL);
#undef CALL
    appending_with(NULL, pipeline);
    appending_with(READ_ONLY, pipeline);
#define CALL(err) rs_pipeline_exec(NULL, NULL, &out, err)
    REFUSES("pipeline", CALL);
#undef CALL
    CHECK_NULL(out);
    CHECK_INT(rs_pipeline_command(pipeline, 2, words, NULL, NULL, NULL), RS_OK);
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, NULL, &err));
    CHECK_INT(rs_pipeline_command(pipeline, 2, words, NULL, NULL, NULL), RS_OK);
    CHECK_INT(rs_pipeline_exec(pipeline, NULL, NULL, NULL), RS_OK);
    CHECK_INT(rs_pipeline_len(NULL), 0);
    rs_pipeline_clear(NULL);
    rs_pipeline_free(NULL);
    rs_pipeline_free(pipeline);
}

static void setters(void) {
#define SETTER(name, parameter, ...)                                                                                   \
    do {                                                                                                               \
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, parameter " is NULL", name(__VA_ARGS__, &err));                           \
        CHECK_INT(name(__VA_ARGS__, NULL), RS_ERR_INVALID_ARGUMENT);                                                   \
    } while (0)
    SETTER(rs_options_set_connect_timeout_ms, "options", NULL, 1);
    SETTER(rs_options_set_call_timeout_ms, "options", NULL, 1);
    SETTER(rs_options_set_silence_timeout_ms, "options", NULL, 1);
    SETTER(rs_options_set_username, "options", NULL, "u");
    SETTER(rs_options_set_username, "username", options, NULL);
    SETTER(rs_options_set_password, "options", NULL, "p", 1);
    SETTER(rs_options_set_password, "password", options, NULL, 1);
    SETTER(rs_options_set_client_name, "options", NULL, "n");
    SETTER(rs_options_set_client_name, "name", options, NULL);
    SETTER(rs_options_set_protocol, "options", NULL, RS_PROTOCOL_AUTO);
    SETTER(rs_options_set_tls_ca_file, "options", NULL, "p");
    SETTER(rs_options_set_tls_ca_file, "path", options, NULL);
    SETTER(rs_options_set_tls_client_cert, "options", NULL, "c", "k");
    SETTER(rs_options_set_tls_client_cert, "cert_path", options, NULL, "k");
    SETTER(rs_options_set_tls_client_cert, "key_path", options, "c", NULL);
    SETTER(rs_options_set_tls_ca_pem, "options", NULL, "p", 1);
    SETTER(rs_options_set_tls_ca_pem, "pem", options, NULL, 1);
    SETTER(rs_options_set_tls_client_cert_pem, "options", NULL, "c", 1, "k", 1);
    SETTER(rs_options_set_tls_client_cert_pem, "cert", options, NULL, 1, "k", 1);
    SETTER(rs_options_set_tls_client_cert_pem, "key", options, "c", 1, NULL, 1);
    SETTER(rs_options_set_tls_server_name, "options", NULL, "n");
    SETTER(rs_options_set_tls_server_name, "name", options, NULL);
    SETTER(rs_options_set_tls_insecure_skip_verify, "options", NULL, false);
    SETTER(rs_options_set_keepalive_ms, "options", NULL, 1);
    SETTER(rs_options_set_reconnect_backoff_ms, "options", NULL, 1, 2);
    SETTER(rs_options_set_reconnect_attempts, "options", NULL, 1);
    SETTER(rs_options_set_max_reply_bytes, "options", NULL, 65536);
    SETTER(rs_options_set_max_reply_depth, "options", NULL, 8);
    SETTER(rs_options_set_max_waiting, "options", NULL, 1);
    SETTER(rs_options_set_shared_connections, "options", NULL, 1);
    SETTER(rs_options_set_max_in_flight, "options", NULL, 1);
    SETTER(rs_options_set_lazy_connect, "options", NULL, true);
    SETTER(rs_options_set_client_info, "options", NULL, true);
    SETTER(rs_options_set_probe_transactions, "options", NULL, true);
    SETTER(rs_options_set_read_from, "options", NULL, RS_READ_FROM_PRIMARY);
    SETTER(rs_options_map_address, "options", NULL, "a:1", "b:1");
    SETTER(rs_options_map_address, "announced", options, NULL, "b:1");
    SETTER(rs_options_map_address, "reachable", options, "a:1", NULL);
    SETTER(rs_options_set_sentinel_username, "options", NULL, "u");
    SETTER(rs_options_set_sentinel_username, "username", options, NULL);
    SETTER(rs_options_set_sentinel_password, "options", NULL, "p", 1);
    SETTER(rs_options_set_sentinel_password, "password", options, NULL, 1);
    /* Of no length it is an empty one. */
    rs_options *empty = rs_options_new();
    CHECK_OK(rs_options_set_password(empty, NULL, 0, &err));
    CHECK_OK(rs_options_set_sentinel_password(empty, NULL, 0, &err));
    rs_options_free(empty);
    SETTER(rs_options_set_credentials, "options", NULL, NULL, NULL, NULL);
    SETTER(rs_options_set_call_hook, "options", NULL, NULL, NULL, NULL);
    SETTER(rs_options_set_script_stats, "options", NULL, 1);
    SETTER(rs_options_set_call_costs, "options", NULL, true);
    SETTER(rs_options_set_log, "options", NULL, NULL, NULL, NULL);
#undef SETTER
    rs_options_free(NULL);
    /* What was refused left the options as they were: a client opens with them. */
    rs_client *out = NULL;
    CHECK_OK(rs_options_set_log(options, NULL, NULL, NULL, &err));
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_client_open("redis://127.0.0.1", options, &out, &err));
    rs_client_free(out);
}

static void errors(void) {
    CHECK_INT(rs_error_status(NULL), RS_OK);
    CHECK_TEXT(rs_error_message(NULL), "");
    CHECK_TEXT(rs_error_server_code(NULL), "");
    CHECK(!rs_error_is_indeterminate(NULL));
    CHECK(!rs_error_is_not_executed(NULL));
    CHECK_INT(rs_error_reason(NULL), 0);
    CHECK_INT(rs_error_index(NULL), RS_NO_INDEX);
    CHECK_TEXT(rs_error_node(NULL), "");
    rs_error_free(NULL);
}

static void replies(void) {
    size_t len = 7;
    CHECK_INT(rs_reply_type(NULL), RS_REPLY_NONE);
    CHECK_INT(rs_reply_len(NULL), 0);
    CHECK_NULL(rs_reply_string(NULL, &len));
    CHECK_INT(len, 0);
    CHECK_NULL(rs_reply_string(NULL, NULL));
    CHECK_NULL(rs_reply_string(reply, NULL));
    CHECK_INT(rs_reply_integer(NULL), 0);
    CHECK(rs_reply_double(NULL) == 0.0);
    CHECK_NULL(rs_reply_verbatim_format(NULL));
    CHECK_NULL(rs_reply_element(NULL, 0));
    const char *strings[1];
    CHECK_INT(rs_reply_strings(NULL, 0, 1, strings, &len), 0);
    CHECK_INT(rs_reply_strings(reply, 0, 1, NULL, &len), 0);
    CHECK_INT(rs_reply_strings(reply, 0, 1, strings, NULL), 0);
    CHECK_INT(rs_reply_strings(reply, 0, 0, NULL, NULL), 0);
    CHECK_OK(rs_reply_error(NULL, &err));
    CHECK_INT(rs_reply_error(NULL, NULL), RS_OK);
    CHECK_INT(rs_reply_error(reply, NULL), RS_OK);
    rs_reply_free(NULL);
}

static void stats(void) {
    uint64_t values[2] = {7, 7};
    CHECK_INT(rs_client_stats(NULL, values, 2), 0);
    CHECK(values[0] == 0 && values[1] == 0);
    CHECK_INT(rs_client_stats(client, NULL, 5), RS_STAT_COUNT);
    CHECK_INT(rs_client_stats(NULL, NULL, 0), 0);
    rs_reply *reply = STALE;
#define CALL(err) rs_client_script_stats(NULL, &reply, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_NULL(reply);
#define CALL(err) rs_client_script_stats(client, NULL, err)
    REFUSES("reply", CALL);
#undef CALL
}

static void credentials(void) {
#define CALL(err) rs_client_reauthenticate(NULL, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_credentials_answer(NULL, NULL, "p", 1, 0, err)
    REFUSES("request", CALL);
#undef CALL
    CHECK_TEXT(rs_credentials_node(NULL), "");
    rs_credentials_refuse(NULL, "no vault");
    rs_credentials_refuse(NULL, NULL);
}

static void ignore(void *context, const rs_completion *completion) {
    (void)context, (void)completion;
}

static void queues(void) {
    rs_queue *queue = STALE;
    rs_pipeline *pipeline = NULL;
    rs_completion completion;
    const rs_script *scripts[] = {script};
    size_t count, used, needed;
    char buffer[8];
#define CALL(err) rs_queue_new(1, 0, NULL, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK_INT(rs_queue_new(0, 0, &queue, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_NULL(queue);
#define CALL(err) rs_queue_new(1, RS_QUEUE_NO_THREAD, NULL, err)
    REFUSES("queue", CALL);
#undef CALL
    queue = STALE;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flags", rs_queue_new(1, 2, &queue, &err));
    CHECK_NULL(queue);
    CHECK_OK(rs_queue_new(1, RS_QUEUE_NO_THREAD, &queue, &err));
    rs_queue_free(queue);
    CHECK_OK(rs_queue_new(1, 0, &queue, &err));
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    count = 7;
#define CALL(err) rs_queue_poll(NULL, &completion, 1, 0, &count, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK_INT(count, 0);
    count = 7;
#define CALL(err) rs_queue_poll(queue, NULL, 1, 0, &count, err)
    REFUSES("completions", CALL);
#undef CALL
    CHECK_INT(count, 0);
    CHECK_OK(rs_queue_poll(queue, &completion, 1, 0, NULL, &err));
    count = 7;
#define CALL(err) rs_queue_dispatch(NULL, 1, 0, ignore, NULL, &count, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK_INT(count, 0);
    count = 7;
#define CALL(err) rs_queue_dispatch(queue, 1, 0, NULL, NULL, &count, err)
    REFUSES("completed", CALL);
#undef CALL
    CHECK_INT(count, 0);
    CHECK_OK(rs_queue_dispatch(queue, 1, 0, ignore, NULL, NULL, &err));
    count = used = needed = 7;
#define CALL(err) rs_queue_poll_packed(NULL, buffer, sizeof buffer, 1, 0, &used, &count, &needed, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK(used == 0 && count == 0 && needed == 0);
    count = used = needed = 7;
#define CALL(err) rs_queue_poll_packed(queue, NULL, 8, 1, 0, &used, &count, &needed, err)
    REFUSES("buffer", CALL);
#undef CALL
    CHECK(used == 0 && count == 0 && needed == 0);
    CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 1, 0, NULL, NULL, NULL, &err));
    rs_queue_set_packed_details(NULL, true);
#define CALL(err) rs_script_submit(NULL, client, 0, NULL, NULL, 0, NULL, NULL, NULL, queue, 1, err)
    REFUSES("script", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, NULL, 1, NULL, NULL, 0, NULL, NULL, NULL, queue, 1, err)
    REFUSES("keys", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, NULL, 0, NULL, NULL, 1, NULL, NULL, NULL, queue, 1, err)
    REFUSES("args", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, client, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, 1, err)
    REFUSES("queue", CALL);
#undef CALL
#define CALL(err) rs_script_submit(NULL, client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, queue, 1, err)
    REFUSES("script", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, NULL, 1, NULL, NULL, 0, NULL, NULL, READ_ONLY, queue, 1, err)
    REFUSES("keys", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, NULL, 0, NULL, NULL, 1, NULL, NULL, READ_ONLY, queue, 1, err)
    REFUSES("args", CALL);
#undef CALL
#define CALL(err) rs_script_submit(script, client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, 1, err)
    REFUSES("queue", CALL);
#undef CALL
#define CALL(err) rs_client_submit(NULL, 2, words, NULL, NULL, queue, 1, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_client_submit(client, 2, NULL, NULL, NULL, queue, 1, err)
    REFUSES("argv", CALL);
#undef CALL
#define CALL(err) rs_client_submit(client, 2, words, NULL, NULL, NULL, 1, err)
    REFUSES("queue", CALL);
#undef CALL
#define CALL(err) rs_pipeline_submit(NULL, NULL, queue, 1, err)
    REFUSES("pipeline", CALL);
#undef CALL
#define CALL(err) rs_pipeline_submit(pipeline, NULL, NULL, 1, err)
    REFUSES("queue", CALL);
#undef CALL
    count = 7;
#define CALL(err) rs_client_cancel(NULL, queue, 1, &count, err)
    REFUSES("client", CALL);
#undef CALL
    CHECK_INT(count, 0);
    count = 7;
#define CALL(err) rs_client_cancel(client, NULL, 1, &count, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK_INT(count, 0);
    CHECK_OK(rs_client_cancel(client, queue, 1, NULL, &err));
#define CALL(err) rs_client_submit_packed(NULL, 1, scripts, buffer, 0, queue, err)
    REFUSES("client", CALL);
#undef CALL
#define CALL(err) rs_client_submit_packed(client, 1, NULL, buffer, 0, queue, err)
    REFUSES("scripts", CALL);
#undef CALL
#define CALL(err) rs_client_submit_packed(client, 1, scripts, NULL, 8, queue, err)
    REFUSES("calls", CALL);
#undef CALL
#define CALL(err) rs_client_submit_packed(client, 1, scripts, buffer, 0, NULL, err)
    REFUSES("queue", CALL);
#undef CALL
    scripts[0] = NULL;
#define CALL(err) rs_client_submit_packed(client, 1, scripts, buffer, 0, queue, err)
    REFUSES("scripts", CALL);
#undef CALL
    CHECK_INT(rs_queue_len(queue), 0);
    CHECK_INT(rs_queue_len(NULL), 0);
    CHECK_INT(rs_queue_fd(NULL), -1);
    rs_events *events = STALE;
#define CALL(err) rs_events_new(1, NULL, &events, err)
    REFUSES("queue", CALL);
#undef CALL
    CHECK_NULL(events);
#define CALL(err) rs_events_new(1, queue, NULL, err)
    REFUSES("events", CALL);
#undef CALL
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "capacity is 0", rs_events_new(0, queue, &events, &err));
    CHECK_OK(rs_events_new(1, queue, &events, &err));
    rs_options *options = rs_options_new();
#define CALL(err) rs_options_set_events(NULL, events, err)
    REFUSES("options", CALL);
#undef CALL
#define CALL(err) rs_options_set_events(options, NULL, err)
    REFUSES("events", CALL);
#undef CALL
    used = needed = count = 7;
#define CALL(err) rs_events_take(NULL, buffer, sizeof buffer, &used, &needed, &count, err)
    REFUSES("events", CALL);
#undef CALL
    CHECK(used == 0 && needed == 0 && count == 0);
#define CALL(err) rs_events_take(events, NULL, 1, NULL, NULL, NULL, err)
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "buffer is NULL", CALL(&err));
#undef CALL
    CHECK_OK(rs_events_take(events, NULL, 0, NULL, NULL, NULL, &err));
#define CALL(err) rs_options_set_credentials_events(NULL, events, err)
    REFUSES("options", CALL);
#undef CALL
#define CALL(err) rs_options_set_credentials_events(options, NULL, err)
    REFUSES("events", CALL);
#undef CALL
    rs_credentials_request *request = STALE;
#define CALL(err) rs_events_take_credentials(NULL, &request, err)
    REFUSES("events", CALL);
#undef CALL
    CHECK_NULL(request);
#define CALL(err) rs_events_take_credentials(events, NULL, err)
    REFUSES("request", CALL);
#undef CALL
    request = STALE;
    CHECK_OK(rs_events_take_credentials(events, &request, &err));
    CHECK_NULL(request);
    rs_options_free(options);
    rs_events_free(events);
    rs_events_free(NULL);
    rs_queue_wake(NULL);
    rs_queue_close(NULL);
    CHECK(!rs_queue_is_closed(NULL));
    rs_queue_free(NULL);
    rs_queue_free(queue);
    rs_pipeline_free(pipeline);
}

int main(void) {
    client = open_client(server_url(server_start()));
    CHECK_OK(rs_script_register(client, "return 1", 8, NULL, &script, &err));
    options = rs_options_new();
    reply = command(client, "DBSIZE", NULL);
    RUN(opening_and_closing);
    RUN(views);
    RUN(commands);
    RUN(registering);
    RUN(libraries);
    RUN(calling);
    RUN(administration);
    RUN(pipelines);
    RUN(queues);
    RUN(setters);
    RUN(errors);
    RUN(replies);
    RUN(stats);
    RUN(credentials);
    rs_reply_free(reply);
    rs_options_free(options);
    rs_script_free(script);
    rs_client_free(client);
}
