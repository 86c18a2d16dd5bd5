// Moves money from one account to another and keeps a list of it, in a transaction: once as it should be, once with too
// little money.
//
// What depends on a condition is in one script, for Redis has no rollback: an item that fails leaves what stands beside
// it done.
#include <rs_script.h>
#include <stdio.h>
#include <string.h>

/* KEYS: from, to. ARGV: how much. All keys have the tag {bank}, by which a cluster has them on one server. */
static const char lua[] =
    "local has = tonumber(redis.call('GET', KEYS[1]) or '0')\n"
    "if has < tonumber(ARGV[1]) then return redis.error_reply('POOR the account has only ' .. has) end\n"
    "redis.call('DECRBY', KEYS[1], ARGV[1])\n"
    "return redis.call('INCRBY', KEYS[2], ARGV[1])";

static rs_status move(rs_client *client, const rs_script *script, const char *amount, rs_error **err) {
    const char *keys[] = {"{bank}alice", "{bank}bob"}, *args[] = {amount};
    const char *note[] = {"RPUSH", "{bank}asked", amount};
    rs_pipeline *transaction = NULL;
    rs_reply *replies = NULL;
    rs_status status = rs_pipeline_new(client, RS_PIPELINE_ATOMIC, &transaction, err);
    if (status == RS_OK) status = rs_pipeline_command(transaction, 3, note, NULL, NULL, err);
    if (status == RS_OK) status = rs_pipeline_script(transaction, script, 2, keys, NULL, 1, args, NULL, NULL, err);
    if (status == RS_OK) status = rs_pipeline_exec(transaction, NULL, &replies, err);
    rs_pipeline_free(transaction);
    /* The transaction has run; whether the script did what it should is in its own reply. */
    if (status == RS_OK) status = rs_reply_error(rs_reply_element(replies, 1), err);
    if (status == RS_OK)
        printf("moved %s, bob has %lld\n", amount, (long long)rs_reply_integer(rs_reply_element(replies, 1)));
    rs_reply_free(replies);
    return status;
}

/* What a caller can do about it. True: the program can go on. */
static int explain(rs_status status, const char *amount, const rs_error *err) {
    if (strcmp(rs_error_server_code(err), "POOR") == 0) {
        printf("did not move %s: %s\n", amount, rs_error_message(err));
        return 1;
    }
    if (rs_error_is_not_executed(err)) fprintf(stderr, "nothing happened, it may be tried again: ");
    if (rs_error_is_indeterminate(err)) fprintf(stderr, "it may have happened, look before it is tried again: ");
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    return 0;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379";
    const char *deposit[] = {"MSET", "{bank}alice", "100", "{bank}bob", "0"}, *amounts[] = {"70", "70"};
    rs_client *client = NULL;
    rs_script *script = NULL;
    rs_error *err = NULL;
    int good = 1;
    rs_status status = rs_client_open(url, NULL, &client, &err);
    if (status == RS_OK) status = rs_client_command(client, 5, deposit, NULL, NULL, NULL, &err);
    if (status == RS_OK) status = rs_script_register(client, lua, strlen(lua), NULL, &script, &err);
    if (status != RS_OK) good = explain(status, "", err);
    for (size_t i = 0; good && i < 2; i++) {
        rs_error_free(err);
        status = move(client, script, amounts[i], &err);
        if (status != RS_OK) good = explain(status, amounts[i], err);
    }
    rs_error_free(err);
    rs_script_free(script);
    rs_client_free(client);
    return good ? 0 : 1;
}
