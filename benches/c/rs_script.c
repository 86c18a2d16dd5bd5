// Ours: one client, shared by all threads.

#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>

#include "client.h"

#ifndef MULTIPLY_OPTIONS
#define MULTIPLY_OPTIONS NULL
#endif

struct client {
    rs_client *client;
    rs_script *multiply, *table;
    rs_pipeline *pipeline;
};

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

struct client *client_open(const char *port, int threads) {
    (void)threads;
    struct client *client = calloc(1, sizeof *client);
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s", port);
    rs_error *err;
    check(rs_client_open(url, NULL, &client->client, &err), &err);
    const char *set[] = {"SET", "foo", "2"};
    check(rs_client_command(client->client, 3, set, NULL, NULL, NULL, &err), &err);
    const rs_script_options *options = MULTIPLY_OPTIONS;
    check(rs_script_register(client->client, MULTIPLY, strlen(MULTIPLY), options, &client->multiply, &err), &err);
    check(rs_script_register(client->client, TABLE, strlen(TABLE), NULL, &client->table, &err), &err);
    check(rs_pipeline_new(client->client, 0, &client->pipeline, &err), &err);
    client_multiply(client, 0);
    return client;
}

void client_multiply(struct client *client, int thread) {
    (void)thread;
    const char *keys[] = {"foo"}, *args[] = {"5"};
    const size_t keylens[] = {3}, arglens[] = {1};
    rs_reply *reply;
    rs_error *err;
    check(rs_script_call(client->multiply, client->client, 1, keys, keylens, 1, args, arglens, NULL, &reply, &err),
          &err);
    if (rs_reply_integer(reply) != PRODUCT)
        abort();
    rs_reply_free(reply);
}

void client_multiply_pipeline(struct client *client, int calls) {
    rs_reply *replies;
    rs_error *err;
    for (int i = 0; i < calls; i++) {
        const char *keys[] = {"foo"}, *args[] = {"5"};
        const size_t keylens[] = {3}, arglens[] = {1};
        check(rs_pipeline_script(client->pipeline, client->multiply, 1, keys, keylens, 1, args, arglens, NULL, &err),
              &err);
    }
    check(rs_pipeline_exec(client->pipeline, NULL, &replies, &err), &err);
    for (int i = 0; i < calls; i++) {
        if (rs_reply_integer(rs_reply_element(replies, (size_t)i)) != PRODUCT)
            abort();
    }
    rs_reply_free(replies);
}

void client_table_pipeline(struct client *client, int calls) {
    rs_reply *replies;
    rs_error *err;
    for (int i = 0; i < calls; i++)
        check(rs_pipeline_script(client->pipeline, client->table, 0, NULL, NULL, 0, NULL, NULL, NULL, &err), &err);
    check(rs_pipeline_exec(client->pipeline, NULL, &replies, &err), &err);
    for (int i = 0; i < calls; i++) {
        const char *strings[TABLE_STRINGS];
        size_t lengths[TABLE_STRINGS];
        if (rs_reply_strings(rs_reply_element(replies, (size_t)i), 0, TABLE_STRINGS, strings, lengths) != TABLE_STRINGS)
            abort();
        for (size_t j = 0; j < TABLE_STRINGS; j++) {
            if (lengths[j] != TABLE_STRING || strings[j][0] != '0')
                abort();
        }
    }
    rs_reply_free(replies);
}

void client_close(struct client *client) {
    rs_pipeline_free(client->pipeline);
    rs_script_free(client->table);
    rs_script_free(client->multiply);
    rs_client_free(client->client);
    free(client);
}
