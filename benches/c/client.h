// What every client does to be measured. A failure ends the program with a message.

#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <string.h>

#define MULTIPLY "return redis.call('GET', KEYS[1]) * ARGV[1]"
// With `foo` at 2 and the argument 5.
#define PRODUCT 10

struct client;

// Opens a client for so many threads on a server on this machine, puts 2 at `foo`, and sees to it that the server has the script.
struct client *client_open(const char *port, int threads);

// Calls the multiply script once, as thread `thread`, and checks its reply.
void client_multiply(struct client *client, int thread);

void client_close(struct client *client);

#endif
