// What every client does to be measured. A failure ends the program with a message.

#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <string.h>

#define MULTIPLY "return redis.call('GET', KEYS[1]) * ARGV[1]"
// With `foo` at 2 and the argument 5.
#define PRODUCT 10

#define TABLE "local strings = {} for i = 1, 100 do strings[i] = '0123456789abcdef' end return strings"
#define TABLE_STRINGS 100
#define TABLE_STRING 16

struct client;

// Opens a client for so many threads on a server on this machine, puts 2 at `foo`, and sees to it that the server has
// the scripts.
struct client *client_open(const char *port, int threads);

// Calls the multiply script once, as thread `thread`, and checks its reply.
void client_multiply(struct client *client, int thread);

// Sends so many calls of the multiply script in one pipeline, and checks every reply.
void client_multiply_pipeline(struct client *client, int calls);

// The same with the script that returns a table, looking at every string of every reply.
void client_table_pipeline(struct client *client, int calls);

void client_close(struct client *client);

#endif
