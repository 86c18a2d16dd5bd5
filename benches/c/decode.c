// hiredis's reader alone: `decode FILE REPLIES` reads a reply from FILE, decodes and frees it so many times, and prints
// nanoseconds per reply.

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s FILE REPLIES\n", argv[0]);
        return 2;
    }
    static char bytes[1 << 20];
    FILE *file = fopen(argv[1], "rb");
    size_t length = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    long replies = atol(argv[2]);
    redisReader *reader = redisReaderCreate();
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long left = replies; left > 0; left--) {
        void *reply = NULL;
        redisReaderFeed(reader, bytes, length);
        if (redisReaderGetReply(reader, &reply) != REDIS_OK || reply == NULL)
            return 1;
        freeReplyObject(reply);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double nanoseconds = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
    printf("%.2f\n", nanoseconds / (double)replies);
    redisReaderFree(reader);
}
