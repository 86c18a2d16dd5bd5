/* fork: the child's calls on its parent's client are refused, and nothing that it does disturbs the parent. */
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/server.h"

static server *redis;
static rs_client *client;
static rs_script *script;

/* Runs a test in a child of fork, which must end well. */
static void in_a_child(void (*test)(void)) {
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

static void parent_is_well(void) {
    rs_reply *reply = NULL;
    const char *args[] = {"20"};
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 1, args, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 21);
    rs_reply_free(reply);
    CHECK_INT(stat_of(client, RS_STAT_RECONNECTS), 0); /* on the same connection still */
}

static void calls_in_the_child(void) {
    const char *ping[] = {"PING"};
    bool exists = true;
    const char *sha = rs_script_sha(script);
    rs_reply *source = NULL;
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_command(client, 1, ping, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_script_call_ro(script, client, 0, NULL, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_load(client, script, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_exists(client, 1, &sha, &exists, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_flush(client, RS_FLUSH_SYNC, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_kill(client, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_kill(client, &source, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_script_show(client, sha, &source, &err));
    rs_error *err = NULL;
    CHECK(rs_client_command(client, 1, ping, NULL, NULL, &err) != RS_OK);
    CHECK(rs_error_is_not_executed(err));
    rs_error_free(err);
}

static void a_client_of_the_childs_own(void) {
    rs_client *own = open_client(server_url(redis));
    const char *args[] = {"1"};
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, own, 0, NULL, NULL, 1, args, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), 2);
    rs_reply_free(reply);
    rs_client_free(own);
}

static void freeing_in_the_child(void) {
    rs_script_free(script);
    rs_client_free(client);
}

static void closing_in_the_child(void) { rs_client_close(client); }

static void a_childs_calls_are_refused(void) {
    in_a_child(calls_in_the_child);
    parent_is_well();
}
static void a_child_opens_its_own(void) {
    in_a_child(a_client_of_the_childs_own);
    parent_is_well();
}
static void a_child_frees(void) {
    in_a_child(freeing_in_the_child);
    parent_is_well();
}
static void a_child_closes(void) {
    in_a_child(closing_in_the_child);
    parent_is_well();
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    const char lua[] = "return ARGV[1] + 1";
    CHECK_OK(rs_script_register(client, lua, strlen(lua), &script, &err));
    parent_is_well();
    RUN(a_childs_calls_are_refused);
    RUN(a_child_opens_its_own);
    RUN(a_child_frees);
    RUN(a_child_closes);
    rs_script_free(script);
    rs_client_free(client);
}
