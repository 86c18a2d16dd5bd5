/* Libraries of functions: registered, called like scripts, administered. */
#include "support/check.h"
#include "support/cluster.h"

static const char source[] =
    "#!lua name=lib\n"
    "redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)\n"
    "redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end, "
    "flags={'no-writes'}}\n"
    "redis.register_function('forge', function(keys, args) return redis.error_reply(args[1]) end)\n";
static const char newer[] =
    "#!lua name=lib\n"
    "redis.register_function('count', function(keys) return redis.call('INCRBY', keys[1], 10) end)\n";

static const char *const key[] = {"n"};

static rs_library *library_of(rs_client *client, const char *lua, const rs_library_options *options) {
    rs_library *library = NULL;
    CHECK_OK(rs_library_register(client, lua, strlen(lua), options, &library, &err));
    return library;
}

static rs_script *function_of(const rs_library *library, const char *name) {
    rs_script *script = NULL;
    CHECK_OK(rs_library_function(library, name, strlen(name), NULL, &script, &err));
    return script;
}

static int64_t result(const rs_script *script, rs_client *client, const rs_call_options *options) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, client, 1, key, NULL, 0, NULL, NULL, options, &reply, &err));
    const int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

static void refused(void) {
    rs_library *library = NULL;
    rs_script *script = NULL;
    rs_error *err = NULL;
    CHECK_INT(rs_library_register(NULL, "return 1", 8, NULL, &library, &err), RS_ERR_INVALID_ARGUMENT);
    CHECK_HOLDS(rs_error_message(err), "#!lua name=");
    CHECK_NULL(library);
    rs_error_free(err);
    CHECK_INT(rs_library_register(NULL, NULL, 5, NULL, &library, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_register(NULL, source, sizeof source - 1, NULL, NULL, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_register(NULL, source, sizeof source - 1, RS_LIBRARY_OPTIONS(.flags = 4), &library, NULL),
              RS_ERR_INVALID_ARGUMENT);
    const rs_library_options no_size = {0};
    CHECK_INT(rs_library_register(NULL, source, sizeof source - 1, &no_size, &library, NULL), RS_ERR_INVALID_ARGUMENT);
    library = library_of(NULL, source, NULL);
    CHECK_INT(rs_library_function(NULL, "f", 1, NULL, &script, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_function(library, NULL, 0, NULL, &script, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_function(library, "a b", 3, NULL, &script, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_function(library, "f", 1, NULL, NULL, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_library_function(library, "f", 1, RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_AS_FUNCTION), &script, NULL),
              RS_ERR_INVALID_ARGUMENT);
    CHECK_NULL(script);
    CHECK_TEXT(rs_library_name(NULL), "");
    CHECK_TEXT(rs_script_function_name(NULL), "");
    rs_reply *reply = NULL;
    CHECK_INT(rs_client_library_load(NULL, library, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_check(NULL, library, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_deploy(NULL, library, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_list(NULL, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_prune(NULL, 0, NULL, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    rs_library_free(library);
    rs_library_free(NULL);
}

/* Takes all libraries away, on every primary. */
static void flush(rs_client *client) {
    const char *const words[] = {"FUNCTION", "FLUSH"};
    CHECK_OK(rs_client_command(client, 2, words, NULL, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), NULL, &err));
}

static void calls(rs_client *client) {
    rs_library *library = library_of(client, source, NULL);
    CHECK(strncmp(rs_library_name(library), "lib_", 4) == 0 && strlen(rs_library_name(library)) == 16);
    rs_script *count = function_of(library, "count"), *get = function_of(library, "get");
    rs_script *forge = function_of(library, "forge");
    CHECK(strncmp(rs_script_function_name(count), "count_", 6) == 0);
    CHECK_INT(strlen(rs_script_sha(count)), 40);
    CHECK(strcmp(rs_script_sha(count), rs_script_sha(get)) != 0);
    rs_library_free(library); /* its functions go on */
    const uint64_t before = stat_of(client, RS_STAT_ROUND_TRIPS);
    CHECK_INT(result(count, NULL, NULL), 1);
    CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - before, 1);
    flush(client);
    CHECK_INT(result(count, client, NULL), 2);
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(get, client, 1, key, NULL, 0, NULL, NULL, READ_ONLY, &reply, &err));
    CHECK_STRING(reply, "2");
    rs_reply_free(reply);
    const char *const forged[] = {"ERR Function not found"};
    rs_error *err = NULL;
    CHECK_INT(rs_script_call(forge, client, 1, key, NULL, 1, forged, NULL, NULL, NULL, &err), RS_ERR_SERVER);
    CHECK_HOLDS(rs_error_message(err), "ERR Function not found script: rs");
    CHECK(!rs_error_is_not_executed(err));
    rs_error_free(err);

    rs_pipeline *pipeline = NULL;
    CHECK_OK(rs_pipeline_new(client, RS_PIPELINE_ATOMIC, &pipeline, &err));
    CHECK_OK(rs_pipeline_script(pipeline, count, 1, key, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(pipeline, count, 1, key, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 1)), 4);
    rs_reply_free(reply);
    rs_pipeline_free(pipeline);

    rs_script *script = NULL;
    const char lua[] = "return redis.call('INCR', KEYS[1])";
    CHECK_OK(rs_script_register(client, lua, strlen(lua),
                                RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_AS_FUNCTION | RS_SCRIPT_IDEMPOTENT, .name = "incr",
                                                  .name_len = 4),
                                &script, &err));
    CHECK_TEXT(rs_script_name(script), "incr");
    CHECK(strncmp(rs_script_function_name(script), "rs_", 3) == 0);
    CHECK_INT(result(script, NULL, NULL), 5);
    rs_script_free(script);
    rs_script_free(forge);
    rs_script_free(get);
    rs_script_free(count);

    rs_library *broken = library_of(client, "#!lua name=broken\nreturn return", NULL);
    rs_script *f = function_of(broken, "f");
    CHECK_INT(rs_script_call(f, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL), RS_ERR_COMPILE);
    CHECK_INT(rs_client_library_load(client, broken, &reply, NULL), RS_ERR_COMPILE);
    rs_script_free(f);
    rs_library_free(broken);
}

/* That each of `count` primaries says this. */
static void all_say(rs_reply *reply, size_t count, const char *text) {
    CHECK_INT(rs_reply_type(reply), RS_REPLY_MAP);
    CHECK_INT(rs_reply_len(reply), 2 * count);
    for (size_t i = 0; i < count; i++) CHECK_STRING(rs_reply_element(reply, 2 * i + 1), text);
    rs_reply_free(reply);
}

static void administered(rs_client *client, size_t primaries) {
    rs_library *old = library_of(client, source, RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_NAMED));
    rs_library *new = library_of(client, newer, RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_NAMED));
    CHECK_TEXT(rs_library_name(old), "lib");
    rs_reply *reply = NULL;
    CHECK_OK(rs_client_library_check(client, old, &reply, &err));
    all_say(reply, primaries, "absent");
    CHECK_OK(rs_client_library_load(client, old, &reply, &err));
    all_say(reply, primaries, "loaded");
    CHECK_OK(rs_client_library_load(client, new, &reply, &err));
    all_say(reply, primaries, "there");
    CHECK_OK(rs_client_library_check(client, new, &reply, &err));
    all_say(reply, primaries, "different");
    CHECK_OK(rs_client_library_deploy(client, new, &reply, &err));
    all_say(reply, primaries, "same");
    CHECK_OK(rs_client_library_check(client, old, &reply, &err));
    all_say(reply, primaries, "different");
    rs_script *get = function_of(old, "get");
    rs_error *err = NULL;
    CHECK_INT(rs_script_call(get, client, 1, key, NULL, 0, NULL, NULL, NULL, NULL, &err), RS_ERR_NO_FUNCTION);
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
    rs_script_free(get);

    rs_library *one = library_of(client, source, NULL), *two = library_of(client, newer, NULL);
    CHECK_OK(rs_client_library_load(client, one, NULL, &err));
    CHECK_OK(rs_client_library_load(client, two, NULL, &err));
    const rs_library *const keep[] = {two};
    CHECK_OK(rs_client_library_prune(client, 1, keep, &reply, &err));
    CHECK_INT(rs_reply_len(reply), 2 * primaries);
    for (size_t i = 0; i < primaries; i++) {
        const rs_reply *names = rs_reply_element(reply, 2 * i + 1);
        CHECK_INT(rs_reply_len(names), 1);
        CHECK_STRING(rs_reply_element(names, 0), rs_library_name(one));
    }
    rs_reply_free(reply);
    CHECK_OK(rs_client_library_list(client, &reply, &err));
    CHECK_INT(rs_reply_len(reply), 2 * primaries);
    for (size_t i = 0; i < primaries; i++) CHECK_INT(rs_reply_len(rs_reply_element(reply, 2 * i + 1)), 2);
    rs_reply_free(reply);
    const rs_library *const named[] = {old}, *const null[] = {NULL};
    CHECK_INT(rs_client_library_prune(client, 1, named, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_prune(client, 1, null, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs_client_library_prune(client, 0, NULL, &reply, NULL), RS_ERR_INVALID_ARGUMENT);
    CHECK_NULL(reply);
    rs_library_free(two);
    rs_library_free(one);
    rs_library_free(new);
    rs_library_free(old);
}

/* Appends to a packed buffer. */
static char calls_packed[4096];
static size_t packed_len;

static void put(const void *bytes, size_t length) {
    memcpy(calls_packed + packed_len, bytes, length);
    packed_len += length;
}

static void put_number(uint32_t number) {
    put(&number, sizeof number);
}

static void put_source(const char *lua) {
    put_number((uint32_t)strlen(lua));
    put(lua, strlen(lua));
}

static void put_head(uint64_t tag, uint8_t kind, uint8_t flags) {
    put(&tag, sizeof tag);
    put_number(0);
    put((const uint8_t[]){kind, flags}, 2);
}

/* The reply to the call in the buffer, which ends with this status. */
static rs_reply *ended(rs_client *client, rs_queue *queue, rs_status status) {
    rs_completion done;
    size_t count = 0;
    CHECK_OK(rs_client_submit_packed(client, 0, NULL, calls_packed, packed_len, queue, &err));
    packed_len = 0;
    CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(done.status, status);
    CHECK(status == RS_OK || rs_error_is_not_executed(done.error));
    rs_error_free(done.error);
    return done.reply;
}

static void packed(rs_client *client, size_t primaries) {
    rs_queue *queue = NULL;
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    static const struct {
        uint8_t kind, flags;
        const char *source, *said;
    } steps[] = {{RS_PACKED_LIBRARY_CHECK, RS_LIBRARY_NAMED, source, "absent"},
                 {RS_PACKED_LIBRARY_LOAD, RS_LIBRARY_NAMED, source, "loaded"},
                 {RS_PACKED_LIBRARY_LOAD, RS_LIBRARY_NAMED, newer, "there"},
                 {RS_PACKED_LIBRARY_DEPLOY, RS_LIBRARY_NAMED, newer, "same"},
                 {RS_PACKED_LIBRARY_CHECK, RS_LIBRARY_NAMED, source, "different"},
                 {RS_PACKED_LIBRARY_LOAD, 0, source, "loaded"},
                 {RS_PACKED_LIBRARY_LOAD, 0, newer, "loaded"}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        put_head(i, steps[i].kind, steps[i].flags);
        put_source(steps[i].source);
        all_say(ended(client, queue, RS_OK), primaries, steps[i].said);
    }
    for (size_t gone = 2; gone-- > 0;) {
        put_head(7, RS_PACKED_LIBRARY_PRUNE, 0);
        put_number(1);
        put("", 1); /* no flags */
        put_source(newer);
        rs_reply *removed = ended(client, queue, RS_OK);
        CHECK_INT(rs_reply_len(removed), 2 * primaries);
        for (size_t i = 0; i < primaries; i++) CHECK_INT(rs_reply_len(rs_reply_element(removed, 2 * i + 1)), gone);
        rs_reply_free(removed);
    }
    put_head(8, RS_PACKED_LIBRARY_LIST, 0);
    rs_reply *listed = ended(client, queue, RS_OK);
    for (size_t i = 0; i < primaries; i++) CHECK_INT(rs_reply_len(rs_reply_element(listed, 2 * i + 1)), 2);
    rs_reply_free(listed);
    put_head(9, RS_PACKED_LIBRARY_PRUNE, 0);
    put_number(0);
    CHECK_NULL(ended(client, queue, RS_ERR_INVALID_ARGUMENT));
    put_head(10, RS_PACKED_LIBRARY_LOAD, 0);
    put_source("return 1");
    CHECK_NULL(ended(client, queue, RS_ERR_INVALID_ARGUMENT));
    put_head(11, RS_PACKED_LIBRARY_LIST, RS_LIBRARY_NAMED);
    CHECK_INT(rs_client_submit_packed(client, 0, NULL, calls_packed, packed_len, queue, NULL), RS_ERR_INVALID_ARGUMENT);
    packed_len = 0;
    rs_queue_free(queue);
}

int main(void) {
    server *redis = server_start();
    rs_client *client = open_client(server_url(redis));
    refused();
    calls(client);
    flush(client);
    administered(client, 1);
    flush(client);
    packed(client, 1);
    rs_client_free(client);
    server_stop(redis);
    const cluster three = cluster_start();
    client = open_client(three.url);
    calls(client);
    flush(client);
    administered(client, CLUSTER_NODES);
    flush(client);
    packed(client, CLUSTER_NODES);
    rs_client_free(client);
}
