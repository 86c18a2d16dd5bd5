/* A service behind a sentinel: the URL that names it, and the login that is the sentinel's own. */
#include "support/check.h"
#include "support/server.h"

static server *primary, *sentinel;
static char url[64]; /* of the service */

static void watched_over(void) {
    rs_client *client = open_client(url);
    rs_script *port = NULL;
    rs_reply *reply = NULL;
    const char lua[] = "return tonumber(redis.call('INFO', 'server'):match('tcp_port:(%d+)'))";
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &port, &err));
    CHECK_OK(rs_script_call(port, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_integer(reply), server_port(primary));
    rs_reply_free(reply);
    do_command(client, "SET", "foo", "5", NULL);
    rs_script_free(port);
    rs_client_free(client);
}

static void a_service_that_nobody_watches(void) {
    char unknown[80];
    rs_client *client = NULL;
    snprintf(unknown, sizeof unknown, "redis+sentinel://127.0.0.1:%d/nothing", server_port(sentinel));
    CHECK_FAILS(RS_ERR_CONNECT, "nothing", rs_client_open(unknown, NULL, &client, &err));
    CHECK_NULL(client);
}

static void a_login_at_the_sentinel(void) {
    rs_client *admin = open_client(server_url(sentinel)), *client = NULL;
    rs_options *options = rs_options_new();
    do_command(admin, "ACL", "SETUSER", "watcher", "on", ">sesame", "+@all", NULL);
    do_command(admin, "ACL", "SETUSER", "default", "off", NULL);
    CHECK_OK(rs_options_set_reconnect_attempts(options, 1, &err));
    CHECK_FAILS(RS_ERR_AUTH, "", rs_client_open(url, options, &client, &err));
    CHECK_OK(rs_options_set_sentinel_password(options, "sesame and more", strlen("sesame"), &err));
    CHECK_FAILS(RS_ERR_AUTH, "", rs_client_open(url, options, &client, &err)); /* as the user `default` */
    CHECK_OK(rs_options_set_sentinel_username(options, "watcher", &err));
    CHECK_OK(rs_client_open(url, options, &client, &err));
    do_command(client, "GET", "foo", NULL); /* without a login at the server */
    rs_options_free(options);
    rs_client_free(client);
    rs_client_free(admin);
}

int main(void) {
    char port[8];
    primary = server_start();
    sentinel = server_start_sentinel();
    snprintf(port, sizeof port, "%d", server_port(primary));
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d/main", server_port(sentinel));
    rs_client *admin = open_client(server_url(sentinel));
    do_command(admin, "SENTINEL", "MONITOR", "main", "127.0.0.1", port, "1", NULL);
    rs_client_free(admin);
    RUN(watched_over);
    RUN(a_service_that_nobody_watches);
    RUN(a_login_at_the_sentinel);
}
