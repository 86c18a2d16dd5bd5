/* hiredis's reader: everything in some bytes, written down in a form that hiredis.rs reads. */

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

struct out {
    unsigned char *bytes;
    size_t len, room;
};

static void put(struct out *out, const void *bytes, size_t len) {
    if (out->len + len > out->room) {
        out->room = (out->len + len) * 2;
        out->bytes = realloc(out->bytes, out->room);
        if (out->bytes == NULL) abort();
    }
    if (len > 0) memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

static void put_text(struct out *out, const char *text, size_t len) {
    put(out, &len, sizeof len);
    put(out, text, len);
}

static void put_reply(struct out *out, const redisReply *reply) {
    unsigned char type = (unsigned char)reply->type;
    put(out, &type, 1);
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
    case REDIS_REPLY_BOOL: put(out, &reply->integer, sizeof reply->integer); break;
    case REDIS_REPLY_DOUBLE:
        put_text(out, reply->str, reply->len);
        put(out, &reply->dval, sizeof reply->dval);
        break;
    case REDIS_REPLY_VERB: put(out, reply->vtype, 3); /* fall through */
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
    case REDIS_REPLY_BIGNUM: put_text(out, reply->str, reply->len); break;
    case REDIS_REPLY_NIL: break;
    default:
        put(out, &reply->elements, sizeof reply->elements);
        for (size_t at = 0; at < reply->elements; at++) put_reply(out, reply->element[at]);
    }
}

/* Replies one after the other; then 0, and the error's text if there is one. The caller frees it with free. */
unsigned char *hiredis_replies(const char *input, size_t len, long long max_elements, int max_depth, size_t *size) {
    struct out out = {0};
    redisReader *reader = redisReaderCreate();
    reader->maxelements = max_elements;
    reader->maxdepth = max_depth;
    redisReaderFeed(reader, input, len);
    int status;
    for (;;) {
        void *reply = NULL;
        status = redisReaderGetReply(reader, &reply);
        if (status != REDIS_OK || reply == NULL) break;
        put_reply(&out, reply);
        freeReplyObject(reply);
    }
    put(&out, "", 1);
    if (status != REDIS_OK) put_text(&out, reader->errstr, strlen(reader->errstr));
    redisReaderFree(reader);
    *size = out.len;
    return out.bytes;
}
