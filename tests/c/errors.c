/* Errors: their status, text, server code, and what is known of the call. */
#include "support/check.h"
#include "support/server.h"

static server *redis;
static rs_client *client;

/* Runs Lua that must fail. */
static rs_error *failure_of(const char *lua) {
    rs_script *script = NULL;
    rs_reply *reply = (rs_reply *)&script;
    rs_error *err = NULL;
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    CHECK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err) != RS_OK);
    CHECK_NULL(reply);
    rs_script_free(script);
    return err;
}

static void a_script_that_raises(void) {
    rs_error *err = failure_of("return redis.error_reply('MYWORD it went wrong')");
    CHECK_INT(rs_error_status(err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "MYWORD");
    CHECK_HOLDS(rs_error_message(err), "it went wrong");
    CHECK(!rs_error_is_indeterminate(err));
    CHECK(!rs_error_is_not_executed(err));
    rs_error_free(err);

    err = failure_of("error('raised')");
    CHECK_INT(rs_error_status(err), RS_ERR_SERVER);
    CHECK_HOLDS(rs_error_message(err), "raised");
    rs_error_free(err);

    do_command(client, "SET", "text", "abc", NULL);
    err = failure_of("return redis.call('LPUSH', 'text', 'x')");
    CHECK_TEXT(rs_error_server_code(err), "WRONGTYPE");
    rs_error_free(err);
}

static void a_script_that_does_not_compile(void) {
    rs_error *err = failure_of("return return");
    CHECK_INT(rs_error_status(err), RS_ERR_COMPILE);
    CHECK_TEXT(rs_error_server_code(err), "ERR");
    CHECK_HOLDS(rs_error_message(err), "compiling");
    CHECK(!rs_error_is_indeterminate(err));
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
}

static void a_forged_noscript(void) {
    rs_error *err = failure_of("return redis.error_reply('NOSCRIPT made up')");
    CHECK_INT(rs_error_status(err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "NOSCRIPT");
    CHECK(!rs_error_is_not_executed(err));
    rs_error_free(err);
}

static void a_refused_command(void) {
    const char *multi[] = {"MULTI"};
    CHECK_FAILS(RS_ERR_COMMAND_REFUSED, "", rs_client_command(client, 1, multi, NULL, NULL, NULL, &err));
    rs_error *err = NULL;
    CHECK(rs_client_command(client, 1, multi, NULL, NULL, NULL, &err) != RS_OK);
    CHECK(rs_error_is_not_executed(err));
    CHECK_TEXT(rs_error_server_code(err), "");
    rs_error_free(err);
}

static void a_read_only_call_that_writes(void) {
    const char *lua = "return redis.call('SET', 'ro', '1')", *flagged = "#!lua\nreturn 1";
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    CHECK_FAILS(RS_ERR_SERVER, "rite",
                rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    rs_script_free(script);
    CHECK_OK(rs_script_register(client, flagged, strlen(flagged), NULL, &script, &err));
    CHECK_FAILS(RS_ERR_NOT_READ_ONLY, "no-writes",
                rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    rs_script_free(script);
}

static void urls_and_nobody_there(void) {
    rs_client *out = (rs_client *)&out;
    CHECK_FAILS(RS_ERR_INVALID_URL, "", rs_client_open("http://127.0.0.1", NULL, &out, &err));
    CHECK_NULL(out);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "url", rs_client_open("redis://\xff", NULL, &out, &err));
    CHECK_FAILS(RS_ERR_CONNECT, "", rs_client_open("unix:///nowhere/at/all", NULL, &out, &err));
    CHECK_NULL(out);
    char url[128];
    snprintf(url, sizeof url, "redis://user:tell-nobody@%s", server_tcp_url(redis) + strlen("redis://"));
    rs_error *err = NULL;
    CHECK_INT(rs_client_open(url, NULL, &out, &err), RS_ERR_AUTH);
    CHECK_TEXT(rs_error_server_code(err), "WRONGPASS");
    CHECK(strstr(rs_error_message(err), "tell-nobody") == NULL);
    rs_error_free(err);
}

static void names_of_statuses(void) {
    static const struct {
        rs_status status;
        const char *name;
    } all[] = {
#define NAME(status) {status, #status}
        NAME(RS_OK),
        NAME(RS_ERR_INVALID_ARGUMENT),
        NAME(RS_ERR_INVALID_URL),
        NAME(RS_ERR_INVALID_OPTION),
        NAME(RS_ERR_COMMAND_REFUSED),
        NAME(RS_ERR_CROSS_SLOT),
        NAME(RS_ERR_NOT_READ_ONLY),
        NAME(RS_ERR_FORKED),
        NAME(RS_ERR_CLOSED),
        NAME(RS_ERR_NO_ROUTE),
        NAME(RS_ERR_QUEUE_FULL),
        NAME(RS_ERR_CONNECT),
        NAME(RS_ERR_TLS),
        NAME(RS_ERR_AUTH),
        NAME(RS_ERR_TIMEOUT),
        NAME(RS_ERR_CANCELLED),
        NAME(RS_ERR_INDETERMINATE),
        NAME(RS_ERR_REPLY_LIMIT),
        NAME(RS_ERR_NOT_REPLICATED),
        NAME(RS_ERR_SERVER),
        NAME(RS_ERR_NOSCRIPT),
        NAME(RS_ERR_COMPILE),
        NAME(RS_ERR_LOADING),
        NAME(RS_ERR_BUSY),
        NAME(RS_ERR_TRANSACTION_ABORTED),
        NAME(RS_ERR_NOT_SUPPORTED),
        NAME(RS_ERR_NOT_SERVED),
        NAME(RS_ERR_NO_FUNCTION),
        NAME(RS_ERR_TOKEN_MISMATCH),
        NAME(RS_ERR_REPLY_NOT_KEPT),
        NAME(RS_ERR_INTERNAL),
        NAME(RS_ERR_NO_MEMORY),
        NAME(RS_ERR_RESOURCES),
#undef NAME
    };
    size_t known = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CHECK_TEXT(rs_status_name(all[i].status), all[i].name);
    /* And there are no others. */
    for (rs_status status = -1000; status < 2000; status++)
        known += strcmp(rs_status_name(status), "RS_ERR_UNKNOWN") != 0;
    CHECK_INT(known, sizeof all / sizeof *all);
    CHECK_TEXT(rs_status_name(INT32_MIN), "RS_ERR_UNKNOWN");
}

static void versions(void) {
    CHECK_TEXT(rs_version(), RS_VERSION);
    CHECK_INT(rs_version_number(), RS_VERSION_NUMBER);
    CHECK_INT(RS_VERSION_NUMBER, RS_VERSION_MAJOR * 1000000 + RS_VERSION_MINOR * 1000 + RS_VERSION_PATCH);
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", RS_VERSION_MAJOR, RS_VERSION_MINOR, RS_VERSION_PATCH);
    CHECK_TEXT(text, RS_VERSION);
    CHECK_TEXT(RS_VERSION, CARGO_VERSION);
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    RUN(a_script_that_raises);
    RUN(a_script_that_does_not_compile);
    RUN(a_forged_noscript);
    RUN(a_refused_command);
    RUN(a_read_only_call_that_writes);
    RUN(urls_and_nobody_there);
    RUN(names_of_statuses);
    RUN(versions);
    rs_client_free(client);
}
