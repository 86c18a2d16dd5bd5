/* User and password by callback: given, refused, given later, and their context freed exactly once. */
#include <pthread.h>
#include <stdatomic.h>

#include "support/check.h"
#include "support/server.h"

typedef struct {
    atomic_int asked, freed;
    const char *password;
    const char *why;                            /* refused with that, if it is set */
    _Atomic(rs_credentials_request *) kept;     /* kept instead of answered, if `keeps` */
    int keeps;
    rs_client *frees;
} vault;

static server *redis;

static void give(void *context, rs_credentials_request *request) {
    vault *v = context;
    CHECK_INT(v->freed, 0);
    CHECK_TEXT(rs_credentials_node(request), server_tcp_url(redis) + strlen("redis://"));
    v->asked++;
    if (v->frees) {
        rs_client_free(v->frees);
        v->frees = NULL;
    }
    if (v->keeps) {
        v->kept = request;
    } else if (v->why) {
        rs_credentials_refuse(request, v->why);
    } else {
        CHECK_OK(rs_credentials_answer(request, "app", v->password, strlen(v->password), 900000, &err));
    }
}

static void forget(void *context) { ((vault *)context)->freed++; }

static void set_password(const char *password) {
    rs_client *admin = open_client(server_url(redis));
    char rule[64];
    snprintf(rule, sizeof rule, ">%s", password);
    do_command(admin, "ACL", "SETUSER", "app", "on", "resetpass", rule, "~*", "+@all", NULL);
    rs_client_free(admin);
}

static rs_options *options_of(vault *v) {
    rs_options *options = rs_options_new();
    CHECK_OK(rs_options_set_call_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_options_set_credentials(options, give, v, forget, &err));
    return options;
}

static void given_renewed_and_freed(void) {
    vault v = {.password = "first"};
    rs_options *options = options_of(&v);
    rs_client *client = NULL;
    set_password("first");
    CHECK_OK(rs_client_open(server_tcp_url(redis), options, &client, &err));
    rs_options_free(options);
    rs_reply *who = command(client, "ACL", "WHOAMI", NULL);
    CHECK_BYTES(who, "app", 3);
    rs_reply_free(who);
    CHECK_INT(v.asked, 1);
    set_password("second");
    CHECK_FAILS(RS_ERR_AUTH, "WRONGPASS", rs_client_reauthenticate(client, &err));
    v.password = "second";
    CHECK_OK(rs_client_reauthenticate(client, &err));
    v.why = "the vault is sealed";
    CHECK_FAILS(RS_ERR_AUTH, "the vault is sealed", rs_client_reauthenticate(client, &err));
    do_command(client, "PING", NULL);
    CHECK_INT(v.freed, 0);
    rs_client_free(client);
    CHECK_INT(v.freed, 1);
}

static void refused_and_wrong(void) {
    vault v = {.password = "second", .why = "the vault is sealed"};
    rs_options *options = options_of(&v);
    rs_client *client = NULL;
    CHECK_FAILS(RS_ERR_AUTH, "the vault is sealed", rs_client_open(server_tcp_url(redis), options, &client, &err));
    CHECK_NULL(client);
    /* Replaced: the context goes. */
    vault other = {0};
    CHECK_OK(rs_options_set_credentials(options, give, &other, forget, &err));
    CHECK_INT(v.freed, 1);
    CHECK_OK(rs_options_set_credentials(options, NULL, NULL, NULL, &err));
    CHECK_INT(other.freed, 1);
    rs_options_free(options);
    vault third = {0};
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "options", rs_options_set_credentials(NULL, give, &third, forget, &err));
    CHECK_INT(third.freed, 1);
}

typedef struct {
    rs_client *client;
    rs_options *options;
    rs_status status;
} opening;

static void *open_it(void *argument) {
    opening *o = argument;
    o->status = rs_client_open(server_tcp_url(redis), o->options, &o->client, NULL);
    return NULL;
}

static rs_credentials_request *await(vault *v) {
    while (!v->kept) pause_ms(1);
    return atomic_exchange(&v->kept, NULL);
}

static void later_and_with_what_is_wrong(void) {
    vault v = {.keeps = 1};
    opening o = {.options = options_of(&v)};
    pthread_t thread;
    static const struct {
        const char *user, *password;
        size_t len;
        uint64_t lifetime;
        rs_status answered, opened;
    } answers[] = {
        {"", "second", 6, 0, RS_ERR_INVALID_ARGUMENT, RS_ERR_AUTH},
        {"\xff", "second", 6, 0, RS_ERR_INVALID_ARGUMENT, RS_ERR_AUTH},
        {"app", NULL, 6, 0, RS_ERR_INVALID_ARGUMENT, RS_ERR_AUTH},
        {"app", "second", 6, UINT64_MAX, RS_ERR_INVALID_ARGUMENT, RS_ERR_AUTH},
        {"app", "second", 6, 0, RS_OK, RS_OK},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        CHECK_INT(pthread_create(&thread, NULL, open_it, &o), 0);
        rs_credentials_request *request = await(&v);
        CHECK_INT(rs_credentials_answer(request, answers[i].user, answers[i].password, answers[i].len,
                                        answers[i].lifetime, NULL),
                  answers[i].answered);
        CHECK_INT(pthread_join(thread, NULL), 0);
        CHECK_INT(o.status, answers[i].opened);
    }
    rs_options_free(o.options);
    do_command(o.client, "PING", NULL);
    rs_client_free(o.client);
    CHECK_INT(v.freed, 1);
}

/* One that is answered when its client is gone is freed, and no more. */
static void after_the_client(void) {
    vault v = {.keeps = 1};
    rs_options *options = options_of(&v);
    rs_client *client = NULL, *view = NULL;
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    for (int round = 0; round < 2; round++) {
        CHECK_OK(rs_client_open(server_tcp_url(redis), options, &client, &err));
        CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 50), &view, &err));
        rs_error *error = NULL;
        const char *ping = "PING";
        CHECK(rs_client_command(view, 1, &ping, NULL, NULL, NULL, &error) != RS_OK);
        CHECK(rs_error_is_not_executed(error));
        rs_error_free(error);
        rs_client_free(view);
        rs_client_free(client);
        rs_credentials_request *request = await(&v);
        if (round == 0) {
            CHECK_OK(rs_credentials_answer(request, NULL, "p", 1, 1, &err));
        } else {
            rs_credentials_refuse(request, NULL);
        }
    }
    rs_options_free(options);
    CHECK_INT(v.freed, 1);
}

/* A callback may free the client that it is asked for. */
static void frees_its_client(void) {
    vault v = {.password = "second"};
    rs_options *options = options_of(&v);
    rs_client *client = NULL;
    CHECK_OK(rs_client_open(server_tcp_url(redis), options, &client, &err));
    rs_options_free(options);
    v.frees = client;
    rs_queue *queue = NULL;
    rs_client *admin = open_client(server_url(redis));
    do_command(admin, "CLIENT", "KILL", "USER", "app", NULL);
    rs_client_free(admin);
    CHECK_OK(rs_queue_new(1, 0, &queue, &err));
    const char *ping = "PING";
    const int asked = v.asked;
    do { /* the first may be lost with the old connection: then nobody has asked for a new one */
        CHECK_OK(rs_client_submit(client, 1, &ping, NULL, NULL, queue, 7, &err));
        rs_completion done;
        size_t count = 0;
        CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
        CHECK_INT(count, 1);
        CHECK(done.status != RS_OK);
        rs_reply_free(done.reply);
        rs_error_free(done.error);
    } while (v.asked == asked);
    rs_queue_free(queue);
    while (v.freed == 0) pause_ms(1);
    CHECK_INT(v.freed, 1);
}

/* Requests that are fetched: more than there is room for, and those that nobody has fetched. */
static void fetched(void) {
    rs_queue *queue = NULL;
    rs_events *events = NULL;
    rs_options *options = rs_options_new();
    enum { CLIENTS = 3 };
    rs_client *clients[CLIENTS];
    rs_credentials_request *request = NULL;
    CHECK_OK(rs_queue_new(CLIENTS, 0, &queue, &err));
    CHECK_OK(rs_events_new(2, queue, &events, &err));
    CHECK_OK(rs_options_set_lazy_connect(options, true, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_options_set_reconnect_attempts(options, 1, &err));
    CHECK_OK(rs_options_set_credentials_events(options, events, &err));
    const char *who[] = {"ACL", "WHOAMI"};
    rs_completion done;
    size_t count = 0;
    for (uint64_t i = 0; i < CLIENTS; i++) {
        CHECK_OK(rs_client_open(server_tcp_url(redis), options, &clients[i], &err));
        CHECK_OK(rs_client_submit(clients[i], 2, who, NULL, NULL, queue, i, &err));
    }
    rs_options_free(options);
    /* The first to come is refused by the third. */
    do CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    while (count == 0); /* woken */
    CHECK_INT(done.status, RS_ERR_AUTH);
    CHECK_HOLDS(rs_error_message(done.error), "more have come");
    rs_error_free(done.error);
    CHECK_OK(rs_events_take_credentials(events, &request, &err));
    CHECK_TEXT(rs_credentials_node(request), server_tcp_url(redis) + strlen("redis://"));
    CHECK_OK(rs_credentials_answer(request, "app", "second", 6, 0, &err));
    do CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    while (count == 0);
    CHECK_INT(done.status, RS_OK);
    rs_reply_free(done.reply);
    /* What is in it when it is freed is refused. */
    rs_events_free(events);
    do CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    while (count == 0);
    CHECK_INT(done.status, RS_ERR_AUTH);
    rs_error_free(done.error);
    for (size_t i = 0; i < CLIENTS; i++) rs_client_free(clients[i]);
    rs_queue_free(queue);
}

int main(void) {
    redis = server_start();
    RUN(given_renewed_and_freed);
    RUN(refused_and_wrong);
    RUN(later_and_with_what_is_wrong);
    RUN(after_the_client);
    RUN(frees_its_client);
    RUN(fetched);
}
