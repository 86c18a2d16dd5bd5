// hiredis: a connection for each thread.

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

#include "client.h"

struct client {
    int threads;
    redisContext **connections;
    char sha[41], table_sha[41];
};

static redisReply *check(redisContext *connection, redisReply *reply) {
    if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
        return reply;
    fprintf(stderr, "hiredis: %s\n", reply != NULL ? reply->str : connection->errstr);
    exit(1);
}

static void load(redisContext *connection, const char *script, char sha[41]) {
    redisReply *reply = check(connection, redisCommand(connection, "SCRIPT LOAD %s", script));
    snprintf(sha, 41, "%s", reply->str);
    freeReplyObject(reply);
}

struct client *client_open(const char *port, int threads) {
    struct client *client = calloc(1, sizeof *client);
    client->threads = threads;
    client->connections = calloc((size_t)threads, sizeof *client->connections);
    for (int i = 0; i < threads; i++) {
        redisContext *connection = client->connections[i] = redisConnect("127.0.0.1", atoi(port));
        if (connection == NULL || connection->err != 0) {
            fprintf(stderr, "hiredis: %s\n", connection != NULL ? connection->errstr : "no memory");
            exit(1);
        }
    }
    redisContext *first = client->connections[0];
    freeReplyObject(check(first, redisCommand(first, "SET foo 2")));
    load(first, MULTIPLY, client->sha);
    load(first, TABLE, client->table_sha);
    client_multiply(client, 0);
    return client;
}

void client_multiply(struct client *client, int thread) {
    redisContext *connection = client->connections[thread];
    const char *argv[] = {"EVALSHA", client->sha, "1", "foo", "5"};
    const size_t lengths[] = {7, 40, 1, 3, 1};
    redisReply *reply = check(connection, redisCommandArgv(connection, 5, argv, lengths));
    if (reply->integer != PRODUCT)
        abort();
    freeReplyObject(reply);
}

static redisReply *next_reply(redisContext *connection) {
    void *reply = NULL;
    redisGetReply(connection, &reply);
    return check(connection, reply);
}

void client_multiply_pipeline(struct client *client, int calls) {
    redisContext *connection = client->connections[0];
    for (int i = 0; i < calls; i++) {
        const char *argv[] = {"EVALSHA", client->sha, "1", "foo", "5"};
        const size_t lengths[] = {7, 40, 1, 3, 1};
        redisAppendCommandArgv(connection, 5, argv, lengths);
    }
    for (int i = 0; i < calls; i++) {
        redisReply *reply = next_reply(connection);
        if (reply->integer != PRODUCT)
            abort();
        freeReplyObject(reply);
    }
}

void client_table_pipeline(struct client *client, int calls) {
    redisContext *connection = client->connections[0];
    for (int i = 0; i < calls; i++) {
        const char *argv[] = {"EVALSHA", client->table_sha, "0"};
        const size_t lengths[] = {7, 40, 1};
        redisAppendCommandArgv(connection, 3, argv, lengths);
    }
    for (int i = 0; i < calls; i++) {
        redisReply *reply = next_reply(connection);
        for (size_t j = 0; j < TABLE_STRINGS; j++) {
            if (reply->element[j]->len != TABLE_STRING || reply->element[j]->str[0] != '0')
                abort();
        }
        freeReplyObject(reply);
    }
}

void client_close(struct client *client) {
    for (int i = 0; i < client->threads; i++)
        redisFree(client->connections[i]);
    free(client->connections);
    free(client);
}
