/* Arguments of every shape reach the script byte by byte. */
#include "support/check.h"
#include "support/server.h"

static rs_client *client;

static rs_script *script_of(const char *lua, size_t len) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(client, lua, len, NULL, &script, &err));
    return script;
}

#define SCRIPT(lua) script_of(lua, sizeof(lua) - 1)

static void texts_without_lengths(void) {
    rs_script *script = SCRIPT("return {KEYS[1], ARGV[1], ARGV[2], #KEYS, #ARGV}");
    const char *keys[] = {"key"}, *args[] = {"one", ""};
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, NULL, 1, keys, NULL, 2, args, NULL, NULL, &reply, &err));
    CHECK_STRING(rs_reply_element(reply, 0), "key");
    CHECK_STRING(rs_reply_element(reply, 1), "one");
    CHECK_STRING(rs_reply_element(reply, 2), "");
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 3)), 1);
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 4)), 2);
    rs_reply_free(reply);
    rs_script_free(script);
}

static void bytes_with_lengths(void) {
    rs_script *script = SCRIPT("return {KEYS[1], ARGV[1], ARGV[2], ARGV[3]}");
    const char *keys[] = {"k\0y\r\n"}, *args[] = {"\0", "\xff\xfe", NULL};
    const size_t keylens[] = {5}, arglens[] = {1, 2, 0};
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, NULL, 1, keys, keylens, 3, args, arglens, NULL, &reply, &err));
    CHECK_BYTES(rs_reply_element(reply, 0), "k\0y\r\n", 5);
    CHECK_BYTES(rs_reply_element(reply, 1), "\0", 1);
    CHECK_BYTES(rs_reply_element(reply, 2), "\xff\xfe", 2);
    CHECK_BYTES(rs_reply_element(reply, 3), "", 0);
    rs_reply_free(reply);

    const char *set[] = {"SET", "k\0y", "v\0lue"}, *get[] = {"GET", "k\0y"};
    const size_t lens[] = {3, 3, 5};
    CHECK_OK(rs_client_command(client, 3, set, lens, NULL, NULL, &err));
    CHECK_OK(rs_client_command(client, 2, get, lens, NULL, &reply, &err));
    CHECK_BYTES(reply, "v\0lue", 5);
    rs_reply_free(reply);
    rs_script_free(script);
}

static void impossible_lengths(void) {
    const char *argv[] = {"PING"};
    const size_t lens[] = {SIZE_MAX};
    rs_script *script = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "argv[0]", rs_client_command(client, 1, argv, lens, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "argv", rs_client_command(client, SIZE_MAX, argv, lens, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "lua", rs_script_register(client, "", SIZE_MAX, NULL, &script, &err));
    CHECK_NULL(script);
}

/* What no list, buffer or array can have as its number: found out before anything is read or written. */
static void impossible_numbers(void) {
    static const size_t numbers[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8, SIZE_MAX / 16 + 1};
    const char *words[] = {"PING"};
    const char *sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    rs_script *script = SCRIPT("return 1"), *other = NULL;
    rs_pipeline *pipeline = NULL;
    rs_queue *queue = NULL;
    rs_client *view = NULL;
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    CHECK_OK(rs_queue_new(SIZE_MAX, 0, &queue, &err)); /* as many as there will ever be */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const size_t n = numbers[i];
        bool exists = true;
        uint64_t stat = 7;
        char byte = 7;
        rs_completion completion;
        size_t used = 7, count = 7, needed = 7;
        rs_options *options = rs_options_new();
        rs_reply *shown = NULL;
#define REFUSED(parameter, call) CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, parameter, call)
        REFUSED("exists", rs_client_script_exists(client, n, &sha, NULL, &exists, &err));
        CHECK(exists);
        REFUSED("exists", rs_client_script_exists(NULL, n, &sha, NULL, &exists, &err));
        REFUSED("exists", rs_client_script_exists(client, n, NULL, NULL, NULL, &err));
        CHECK_INT(rs_client_stats(client, &stat, n), RS_STAT_COUNT);
        CHECK_INT(rs_client_stats(NULL, &stat, n), 0);
        CHECK_INT(stat, 7);
        REFUSED("argv", rs_client_command(client, n, words, NULL, NULL, NULL, &err));
        REFUSED("argv", rs_client_submit(client, n, words, NULL, NULL, queue, 1, &err));
        REFUSED("argv", rs_pipeline_command(pipeline, n, words, NULL, NULL, &err));
#define CALLS(function, ...)                                                                                           \
    do {                                                                                                               \
        REFUSED("keys", function(script, client, n, words, NULL, 0, NULL, NULL, __VA_ARGS__));                         \
        REFUSED("args", function(script, client, 0, NULL, NULL, n, words, NULL, __VA_ARGS__));                         \
    } while (0)
        CALLS(rs_script_call, NULL, NULL, &err);
        CALLS(rs_script_call, READ_ONLY, NULL, &err);
        CALLS(rs_script_submit, NULL, queue, 1, &err);
        CALLS(rs_script_submit, READ_ONLY, queue, 1, &err);
#undef CALLS
        REFUSED("keys", rs_pipeline_script(pipeline, script, n, words, NULL, 0, NULL, NULL, NULL, &err));
        REFUSED("args", rs_pipeline_script(pipeline, script, 0, NULL, NULL, n, words, NULL, NULL, &err));
        REFUSED("keys", rs_pipeline_script(pipeline, script, n, words, NULL, 0, NULL, NULL, READ_ONLY, &err));
        REFUSED("args", rs_pipeline_script(pipeline, script, 0, NULL, NULL, n, words, NULL, READ_ONLY, &err));
        const rs_script *one[] = {script};
        REFUSED("scripts", rs_client_submit_packed(client, n, one, &byte, 0, queue, &err));
        if (n > SIZE_MAX / 2) { /* a number of bytes can be as large as the rest, if only in theory */
            REFUSED("calls", rs_client_submit_packed(client, 0, NULL, &byte, n, queue, &err));
            REFUSED("capacity", rs_queue_poll_packed(queue, &byte, n, 1, 0, &used, &count, &needed, &err));
            REFUSED("lua", rs_script_register(client, &byte, n, NULL, &other, &err));
            REFUSED("name", rs_script_register(client, &byte, 1, RS_SCRIPT_OPTIONS(.name = &byte, .name_len = n),
                                               &other, &err));
            REFUSED("sha", rs_client_script_show(client, &byte, n, &shown, &err));
            rs_call_options to = RS_CALL_OPTIONS_INIT;
            to.route = RS_ROUTE_KEY, to.route_to = &byte, to.route_len = n;
            REFUSED("route_to", rs_client_with(client, &to, &view, &err));
            REFUSED("password", rs_options_set_password(options, &byte, n, &err));
            REFUSED("password", rs_options_set_sentinel_password(options, &byte, n, &err));
            CHECK(used == 0 && count == 0 && needed == 0);
        }
        CHECK_OK(rs_queue_poll(queue, &completion, n, 0, &count, &err)); /* as many as there are: none */
        CHECK_INT(count, 0);
        CHECK_INT(byte, 7);
        CHECK_NULL(rs_reply_element(NULL, n));
#undef REFUSED
        rs_options_free(options);
    }
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    CHECK_INT(rs_queue_len(queue), 0);
    rs_pipeline_free(pipeline);
    rs_queue_free(queue);
    rs_script_free(script);
}

static void no_keys_and_no_args(void) {
    rs_script *script = SCRIPT("return #KEYS + #ARGV");
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 0);
    rs_reply_free(reply);
    rs_script_free(script);
}

static void a_script_of_no_bytes(void) {
    rs_script *script = script_of(NULL, 0), *same = script_of("", 0);
    rs_reply *reply = NULL;
    CHECK_TEXT(rs_script_sha(script), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    CHECK_TEXT(rs_script_sha(same), rs_script_sha(script));
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_type(reply), RS_REPLY_NIL);
    rs_reply_free(reply);
    rs_script_free(script);
    rs_script_free(same);
}

/* Lua itself ends the source at the NUL, so what follows is dropped by the server; the SHA covers it nevertheless. */
static void a_script_with_a_nul(void) {
    rs_script *whole = SCRIPT("return 5\0return 6"), *half = SCRIPT("return 5");
    CHECK(strcmp(rs_script_sha(whole), rs_script_sha(half)) != 0);
    const rs_status status = rs_script_call(whole, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL);
    CHECK(status == RS_OK || status == RS_ERR_COMPILE);
    bool exists[2];
    const char *shas[] = {rs_script_sha(whole), rs_script_sha(half)};
    CHECK_OK(rs_client_script_exists(client, 2, shas, NULL, exists, &err));
    CHECK_INT(exists[0], status == RS_OK);
    CHECK(!exists[1]);
    rs_script_free(whole);
    rs_script_free(half);
}

static void a_hundred_thousand_arguments(void) {
    enum { COUNT = 100000 };
    rs_script *script = SCRIPT("return {#ARGV, ARGV[1], ARGV[#ARGV]}");
    static char texts[COUNT][8];
    static const char *args[COUNT];
    rs_reply *reply = NULL;
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], "%d", i);
        args[i] = texts[i];
    }
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, COUNT, args, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 0)), COUNT);
    CHECK_STRING(rs_reply_element(reply, 1), "0");
    CHECK_STRING(rs_reply_element(reply, 2), "99999");
    rs_reply_free(reply);
    rs_script_free(script);
}

static void nothing_is_kept_after_the_call(void) {
    char lua[] = "return ARGV[1]", arg[] = "value", *args[] = {arg};
    rs_script *script = script_of(lua, strlen(lua));
    rs_reply *reply = NULL;
    memset(lua, '!', strlen(lua));
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 1, (const char *const *)args, NULL, NULL, &reply, &err));
    memset(arg, '!', strlen(arg));
    CHECK_STRING(reply, "value");
    rs_reply_free(reply);
    rs_script_free(script);
}

int main(void) {
    client = open_client(server_url(server_start()));
    RUN(texts_without_lengths);
    RUN(bytes_with_lengths);
    RUN(impossible_lengths);
    RUN(impossible_numbers);
    RUN(no_keys_and_no_args);
    RUN(a_script_of_no_bytes);
    RUN(a_script_with_a_nul);
    RUN(a_hundred_thousand_arguments);
    RUN(nothing_is_kept_after_the_call);
    rs_client_free(client);
}
