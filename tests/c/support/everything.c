/* Every exported function, called on one set of handles. */
#include "everything.h"
#include "check.h"
#include "server.h"

enum { ROWS = 40, PATIENCE_MS = 60000 };

static const char lua[] = "local t = {} for i = 1, 40 do t[i] = {i, {i}} end return t";
static const char library_lua[] = "#!lua name=everything\nredis.register_function('f', function() return 1 end)";
static const char *const ping[] = {"PING"};

#define GIVES(want, call)                                                                                              \
    do {                                                                                                               \
        rs_error *err = (rs_error *)&err; /* an output must be set */                                                  \
        const rs_status got = (call);                                                                                  \
        if (got != (want)) FAIL("%s: %s: %s", #call, rs_status_name(got), rs_error_message(err));                      \
        CHECK_INT(rs_error_status(err), got);                                                                          \
        rs_error_free(err);                                                                                            \
    } while (0)

everything everything_of(const char *url) {
    everything e = {.url = url};
    e.options = rs_options_new();
    CHECK(e.options != NULL);
    /* No machine is too slow for it, and no tool. */
    CHECK_OK(rs_options_set_connect_timeout_ms(e.options, PATIENCE_MS, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(e.options, PATIENCE_MS, &err));
    /* They wake a queue of their own: who waits in the other is to wait for calls. */
    rs_queue *woken = NULL;
    CHECK_OK(rs_queue_new(1, 0, &woken, &err));
    CHECK_OK(rs_events_new(10, woken, &e.events, &err));
    rs_queue_free(woken);
    CHECK_OK(rs_queue_new(100, 0, &e.queue, &err));
    CHECK_OK(rs_options_set_events(e.options, e.events, &err));
    CHECK_OK(rs_client_open(url, e.options, &e.client, &err));
    CHECK_OK(rs_script_register(e.client, lua, strlen(lua), NULL, &e.script, &err));
    CHECK_OK(rs_pipeline_new(e.client, 0, &e.pipeline, &err));
    CHECK_OK(rs_pipeline_command(e.pipeline, 1, ping, NULL, NULL, &err));
    CHECK_OK(rs_script_call(e.script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &e.reply, &err));
    CHECK_INT(rs_client_command(e.client, 0, NULL, NULL, NULL, NULL, &e.error), RS_ERR_INVALID_ARGUMENT);
    return e;
}

static void looks(const everything *e) {
    const rs_reply *last = rs_reply_element(e->reply, ROWS - 1); /* far, and behind nested ones */
    size_t len = 0;
    rs_error *none = NULL;
    CHECK(rs_version() != NULL && rs_version_number() > 0);
    CHECK_TEXT(rs_status_name(RS_OK), "RS_OK");
    CHECK_INT(rs_error_status(e->error), RS_ERR_INVALID_ARGUMENT);
    CHECK(*rs_error_message(e->error) != 0 && *rs_error_server_code(e->error) == 0);
    CHECK_INT(rs_error_reason(e->error), RS_REASON_ARGUMENT);
    CHECK(rs_reason_name(rs_error_reason(e->error)) != NULL && rs_error_node(e->error) != NULL);
    CHECK_INT(rs_error_index(e->error), RS_NO_INDEX);
    CHECK(!rs_error_is_indeterminate(e->error) && rs_error_is_not_executed(e->error));
    CHECK_INT(rs_reply_type(e->reply), RS_REPLY_ARRAY);
    CHECK_INT(rs_reply_len(e->reply), ROWS);
    CHECK_INT(rs_reply_integer(rs_reply_element(last, 0)), ROWS);
    CHECK_INT((int)rs_reply_double(rs_reply_element(rs_reply_element(last, 1), 0)), ROWS);
    CHECK_NULL(rs_reply_string(last, &len));
    CHECK_NULL(rs_reply_verbatim_format(last));
    const char *strings[1];
    CHECK_INT(rs_reply_strings(last, 0, 1, strings, &len), 1);
    CHECK_NULL(strings[0]);
    CHECK_INT(rs_reply_error(last, &none), RS_OK);
    CHECK_INT(strlen(rs_script_sha(e->script)), 40);
    CHECK_TEXT(rs_script_name(e->script), "");
    CHECK(rs_queue_fd(e->queue) >= 0);
    CHECK_INT(rs_queue_len(e->queue), 0);
    CHECK_INT(rs_pipeline_len(e->pipeline), 1);
}

static void settings(void) {
    rs_options *options = rs_options_new();
    GIVES(RS_OK, rs_options_set_connect_timeout_ms(options, PATIENCE_MS, &err));
    GIVES(RS_OK, rs_options_set_call_timeout_ms(options, PATIENCE_MS, &err));
    GIVES(RS_OK, rs_options_set_username(options, "u", &err));
    GIVES(RS_OK, rs_options_set_password(options, "p", 1, &err));
    GIVES(RS_OK, rs_options_set_client_name(options, "n", &err));
    GIVES(RS_OK, rs_options_set_protocol(options, RS_PROTOCOL_AUTO, &err));
    GIVES(RS_OK, rs_options_set_tls_ca_file(options, "/nowhere", &err));
    GIVES(RS_OK, rs_options_set_tls_client_cert(options, "/nowhere", "/nowhere", &err));
    GIVES(RS_OK, rs_options_set_tls_ca_pem(options, "p", 1, &err));
    GIVES(RS_OK, rs_options_set_tls_client_cert_pem(options, "c", 1, "k", 1, &err));
    GIVES(RS_OK, rs_options_set_tls_server_name(options, "n", &err));
    GIVES(RS_OK, rs_options_set_tls_insecure_skip_verify(options, false, &err));
    GIVES(RS_OK, rs_options_set_silence_timeout_ms(options, PATIENCE_MS, &err));
    GIVES(RS_OK, rs_options_set_client_info(options, false, &err));
    GIVES(RS_OK, rs_options_set_probe_transactions(options, false, &err));
    GIVES(RS_OK, rs_options_set_keepalive_ms(options, 1, &err));
    GIVES(RS_OK, rs_options_set_reconnect_backoff_ms(options, 1, 1, &err));
    GIVES(RS_OK, rs_options_set_reconnect_attempts(options, 1, &err));
    GIVES(RS_OK, rs_options_set_max_reply_bytes(options, 1 << 20, &err));
    GIVES(RS_OK, rs_options_set_max_reply_depth(options, 8, &err));
    GIVES(RS_OK, rs_options_set_max_waiting(options, 1, &err));
    GIVES(RS_OK, rs_options_set_shared_connections(options, 1, &err));
    GIVES(RS_OK, rs_options_set_max_in_flight(options, 0, &err));
    GIVES(RS_OK, rs_options_set_lazy_connect(options, true, &err));
    GIVES(RS_OK, rs_options_set_client_info(options, false, &err));
    GIVES(RS_OK, rs_options_set_probe_transactions(options, false, &err));
    GIVES(RS_OK, rs_options_set_read_from(options, RS_READ_FROM_PRIMARY, &err));
    GIVES(RS_OK, rs_options_map_address(options, "a:1", "b:2", &err));
    GIVES(RS_OK, rs_options_set_sentinel_username(options, "u", &err));
    GIVES(RS_OK, rs_options_set_sentinel_password(options, "p", 1, &err));
    GIVES(RS_OK, rs_options_set_call_hook(options, NULL, NULL, NULL, &err));
    GIVES(RS_OK, rs_options_set_script_stats(options, 1, &err));
    GIVES(RS_OK, rs_options_set_call_costs(options, true, &err));
    GIVES(RS_OK, rs_options_set_credentials(options, NULL, NULL, NULL, &err));
    GIVES(RS_ERR_INVALID_ARGUMENT, rs_credentials_answer(NULL, NULL, NULL, 0, 0, &err));
    rs_credentials_refuse(NULL, NULL);
    CHECK_TEXT(rs_credentials_node(NULL), "");
    GIVES(RS_OK, rs_options_set_log(options, NULL, NULL, NULL, &err));
    rs_options_free(options);
}

static void views(const everything *e, rs_status expected) {
    rs_client *view = NULL;
    /* A view takes no lock; what is done with it is refused as well. */
#define VIEW(call)                                                                                                     \
    do {                                                                                                               \
        GIVES(RS_OK, call);                                                                                            \
        GIVES(expected, rs_client_command(view, 1, ping, NULL, NULL, NULL, &err));                                     \
        rs_client_free(view);                                                                                          \
    } while (0)
    VIEW(rs_client_with(e->client, RS_CALL_OPTIONS(.timeout_ms = PATIENCE_MS), &view, &err));
    VIEW(rs_client_with(e->client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PRIMARY), &view, &err));
    VIEW(rs_client_with(e->client, TO_KEY("k", 1), &view, &err));
    VIEW(rs_client_with(e->client, TO_SLOT(0), &view, &err));
    VIEW(rs_client_with(e->client, TO_NODE("127.0.0.1:1"), &view, &err));
    VIEW(rs_client_with(e->client, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), &view, &err));
#undef VIEW
}

static void calls(const everything *e, rs_status expected) {
    uint64_t stats[RS_STAT_COUNT];
    rs_script *script = NULL;
    rs_pipeline *pipeline = NULL;
    rs_reply *reply = NULL;
    bool exists = true;
    const char *sha = rs_script_sha(e->script);
    CHECK_INT(rs_client_stats(e->client, stats, RS_STAT_COUNT), RS_STAT_COUNT);
    CHECK((stats[RS_STAT_CALLS] > 0) == (expected == RS_OK));
    GIVES(expected, rs_client_command(e->client, 1, ping, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected ? expected : RS_ERR_INVALID_ARGUMENT, rs_client_reauthenticate(e->client, &err));
    GIVES(expected, rs_client_script_stats(e->client, &reply, &err));
    rs_reply_free(reply);
    GIVES(RS_OK, rs_script_register(e->client, lua, strlen(lua), NULL, &script, &err));
    GIVES(expected, rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    rs_script_free(script);
    GIVES(RS_OK, rs_script_register(e->client, lua, strlen(lua), RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_IDEMPOTENT),
                                    &script, &err));
    GIVES(expected, rs_script_call(script, e->client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &reply, &err));
    rs_reply_free(reply);
    rs_script *once = NULL;
    GIVES(RS_OK,
          rs_script_register(e->client, lua, strlen(lua), RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE), &once, &err));
    GIVES(expected, rs_script_call(once, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected, rs_script_call(once, NULL, 0, NULL, NULL, 0, NULL, NULL,
                                   RS_CALL_OPTIONS(.token = "t", .token_len = 1), &reply, &err));
    rs_reply_free(reply);
    rs_script_free(once);
    GIVES(expected, rs_client_script_load(e->client, script, &err));
    GIVES(expected, rs_client_script_exists(e->client, 1, &sha, NULL, &exists, &err));
    GIVES(expected, rs_client_script_flush(e->client, RS_FLUSH_SYNC, &err));
    GIVES(expected ? expected : RS_ERR_SERVER, rs_client_script_kill(e->client, &err)); /* none is running */
    GIVES(expected ? expected : RS_ERR_SERVER, rs_client_kill(e->client, &reply, &err));
    GIVES(expected ? expected : RS_ERR_NOT_SUPPORTED, rs_client_script_show(e->client, sha, strlen(sha), &reply, &err));
    GIVES(expected, rs_pipeline_new(e->client, RS_PIPELINE_ATOMIC, &pipeline, &err));
    rs_pipeline_free(pipeline);
    GIVES(RS_OK, rs_pipeline_command(e->pipeline, 1, ping, NULL, NULL, &err));
    GIVES(RS_OK, rs_pipeline_script(e->pipeline, script, 0, NULL, NULL, 0, NULL, NULL, NULL, &err));
    GIVES(RS_OK, rs_pipeline_script(e->pipeline, script, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &err));
    GIVES(expected, rs_pipeline_exec(e->pipeline, NULL, &reply, &err));
    rs_reply_free(reply);
    CHECK_INT(rs_pipeline_len(e->pipeline), 0);
    rs_script_free(script);
}

static void functions(const everything *e, rs_status expected) {
    rs_library *library = NULL, *other = NULL;
    rs_script *script = NULL;
    rs_reply *reply = NULL;
    GIVES(RS_OK, rs_library_register(e->client, library_lua, strlen(library_lua), NULL, &library, &err));
    GIVES(RS_OK, rs_library_register(NULL, library_lua, strlen(library_lua), RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_NAMED),
                                     &other, &err));
    CHECK_TEXT(rs_library_name(other), "everything");
    GIVES(RS_OK, rs_library_function(library, "f", 1, NULL, &script, &err));
    CHECK_HOLDS(rs_script_function_name(script), "f_");
    GIVES(expected, rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    rs_script_free(script);
    GIVES(expected, rs_client_library_load(e->client, library, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected, rs_client_library_check(e->client, other, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected, rs_client_library_deploy(e->client, other, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected, rs_client_library_list(e->client, &reply, &err));
    rs_reply_free(reply);
    GIVES(expected, rs_client_library_prune(e->client, 1, (const rs_library *const *)&library, &reply, &err));
    rs_reply_free(reply);
    rs_library_free(library);
    rs_library_free(other);
}

static void release(void *context, const rs_completion *completion) {
    CHECK_INT(completion->status, RS_OK);
    rs_reply_free(completion->reply);
    rs_error_free(completion->error);
    ++*(int *)context;
}

static void submissions(const everything *e, rs_status expected) {
    /* One command: a tag, no time-out of its own, what it is, one argument, its length. */
    char packed[8 + 4 + 2 + 4 + 4 + 4] = {0}, buffer[4096];
    const uint32_t one = 1, four = 4;
    rs_completion completion;
    size_t used = 0, count = 0, needed = 0;
    int released = 0;
    memcpy(packed + 14, &one, sizeof one);
    memcpy(packed + 18, &four, sizeof four);
    memcpy(packed + 22, "PING", 4);
    GIVES(expected, rs_script_submit(e->script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, e->queue, 1, &err));
    GIVES(expected, rs_script_submit(e->script, e->client, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, e->queue, 1, &err));
    GIVES(expected, rs_client_submit(e->client, 1, ping, NULL, NULL, e->queue, 1, &err));
    GIVES(RS_OK, rs_pipeline_command(e->pipeline, 1, ping, NULL, NULL, &err));
    GIVES(expected, rs_pipeline_submit(e->pipeline, NULL, e->queue, 1, &err));
    rs_pipeline_clear(e->pipeline);
    GIVES(RS_OK, rs_pipeline_command(e->pipeline, 1, ping, NULL, NULL, &err)); /* as it was */
    GIVES(expected, rs_client_submit_packed(e->client, 0, NULL, packed, sizeof packed, e->queue, &err));
    GIVES(expected, rs_client_cancel(e->client, e->queue, 9, &count, &err));
    GIVES(expected,
          rs_queue_poll_packed(e->queue, buffer, sizeof buffer, 1, PATIENCE_MS, &used, &count, &needed, &err));
    CHECK_INT(count, expected == RS_OK && needed == 0);
    GIVES(expected, rs_queue_poll(e->queue, &completion, 1, PATIENCE_MS, &count, &err));
    CHECK_INT(count, expected == RS_OK);
    if (count == 1) release(&released, &completion);
    do {
        GIVES(expected, rs_queue_dispatch(e->queue, 1, PATIENCE_MS, release, &released, &count, &err));
    } while (expected == RS_OK && rs_queue_len(e->queue) > 0);
    CHECK(expected == RS_OK ? released >= 4 : released == 0);
    rs_queue_set_packed_details(e->queue, false);
    char room[400];
    size_t dropped = 0;
    GIVES(expected, rs_events_take(e->events, room, sizeof room, &used, &needed, &dropped, &err));
    CHECK(needed == 0 && dropped == 0);
    rs_credentials_request *request = NULL;
    GIVES(expected, rs_events_take_credentials(e->events, &request, &err));
    CHECK_NULL(request);
    rs_options *asks = rs_options_new();
    GIVES(RS_OK, rs_options_set_credentials_events(asks, e->events, &err));
    rs_options_free(asks);
    rs_events *own = NULL;
    GIVES(expected, rs_events_new(1, e->queue, &own, &err));
    rs_events_free(own);
    /* One that is woken, and one that is closed, do not wait. */
    rs_queue *other = NULL;
    rs_queue_wake(e->queue);
    GIVES(expected, rs_queue_poll(e->queue, &completion, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 0);
    GIVES(RS_OK, rs_queue_new(1, RS_QUEUE_NO_THREAD, &other, &err));
    rs_queue_free(other);
    GIVES(RS_OK, rs_queue_new(1, 0, &other, &err));
    rs_queue_close(other);
    CHECK(rs_queue_is_closed(other) && !rs_queue_is_closed(e->queue));
    rs_queue_free(other);
    if (expected != RS_OK) rs_queue_close(e->queue); /* the parent's, which must not suffer */
    CHECK(!rs_queue_is_closed(e->queue));
}

void call_everything(const everything *e, rs_status expected) {
    looks(e);
    settings();
    views(e, expected);
    calls(e, expected);
    functions(e, expected);
    GIVES(RS_OK, rs_pipeline_command(e->pipeline, 1, ping, NULL, NULL, &err));
    rs_pipeline_clear(e->pipeline);
    submissions(e, expected);
    looks(e);
}

void free_everything(const everything *e) {
    rs_client_close(e->client);
    rs_queue_close(e->queue);
    rs_reply_free(e->reply);
    rs_error_free(e->error);
    rs_pipeline_free(e->pipeline);
    rs_script_free(e->script);
    rs_client_free(e->client);
    rs_events_free(e->events);
    rs_queue_free(e->queue);
    rs_options_free(e->options);
}
