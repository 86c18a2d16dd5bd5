/* The log callback, and its context freed exactly once. */
#include "support/check.h"
#include "support/server.h"

typedef struct {
    int freed;
    int messages;
    int32_t level, kind, status, reason;
    char last[256], node[64];
} listener;

static server *redis;

static void hear(void *context, const rs_event *event) {
    listener *l = context;
    CHECK_INT(l->freed, 0);
    CHECK_INT(event->size, sizeof *event);
    CHECK_INT(strlen(event->message), event->message_len);
    CHECK_INT(strlen(event->node), event->node_len);
    l->messages++;
    l->level = event->level;
    l->kind = event->kind;
    l->status = event->status;
    l->reason = event->reason;
    snprintf(l->last, sizeof l->last, "%s", event->message);
    snprintf(l->node, sizeof l->node, "%s", event->node);
}

static void forget(void *context) { ((listener *)context)->freed++; }

static void is_told_and_freed_with_the_last_client(void) {
    listener l = {0};
    rs_options *options = rs_options_new();
    rs_client *client = NULL, *view = NULL, *other = NULL;
    CHECK_OK(rs_options_set_log(options, hear, &l, forget, &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &client, &err));
    CHECK(l.messages > 0);
    CHECK_INT(l.level, RS_LOG_LEVEL_INFO);
    CHECK_HOLDS(l.last, "connected");
    CHECK(l.kind == RS_EVENT_CONNECTED && l.status == RS_OK && l.reason == 0);
    CHECK_TEXT(l.node, server_url(redis) + strlen("unix://"));
    CHECK_OK(rs_client_open(server_url(redis), options, &other, &err));
    rs_options_free(options);
    CHECK_INT(l.freed, 0);
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 1000), &view, &err));
    rs_client_free(client);
    rs_client_free(other);
    CHECK_INT(l.freed, 0);
    rs_client_free(view);
    CHECK_INT(l.freed, 1);
}

static void failures_and_no_secrets(void) {
    listener l = {0};
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    char url[128];
    snprintf(url, sizeof url, "redis://user:tell-nobody@%s", server_tcp_url(redis) + strlen("redis://"));
    CHECK_OK(rs_options_set_log(options, hear, &l, forget, &err));
    CHECK_FAILS(RS_ERR_AUTH, "", rs_client_open(url, options, &client, &err));
    CHECK(l.messages > 0);
    CHECK_INT(l.level, RS_LOG_LEVEL_ERROR);
    CHECK(l.kind == RS_EVENT_AUTH_FAILED && l.status == RS_ERR_AUTH && l.reason == RS_REASON_SERVER);
    CHECK_TEXT(l.node, server_tcp_url(redis) + strlen("redis://"));
    CHECK(strstr(l.last, "tell-nobody") == NULL);
    rs_options_free(options);
    CHECK_INT(l.freed, 1);
}

static void replaced_and_refused(void) {
    listener first = {0}, second = {0}, third = {0};
    rs_options *options = rs_options_new();
    CHECK_OK(rs_options_set_log(options, hear, &first, forget, &err));
    CHECK_OK(rs_options_set_log(options, hear, &second, forget, &err));
    CHECK_INT(first.freed, 1);
    CHECK_INT(second.freed, 0);
    CHECK_OK(rs_options_set_log(options, NULL, NULL, NULL, &err));
    CHECK_INT(second.freed, 1);
    /* Freed on failure as well, before the call returns. */
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "options", rs_options_set_log(NULL, hear, &third, forget, &err));
    CHECK_INT(third.freed, 1);
    rs_options_free(options);
    CHECK(first.freed == 1 && second.freed == 1 && third.freed == 1);
}

static void without_context_free(void) {
    listener l = {0};
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_OK(rs_options_set_log(options, hear, &l, NULL, &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &client, &err));
    rs_options_free(options);
    rs_client_free(client);
    CHECK(l.messages > 0 && l.freed == 0);
}

int main(void) {
    redis = server_start();
    RUN(is_told_and_freed_with_the_last_client);
    RUN(failures_and_no_secrets);
    RUN(replaced_and_refused);
    RUN(without_context_free);
}
