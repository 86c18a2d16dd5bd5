// Misuse that must not compile, one case a macro; without a macro all compiles. DANGLING_ cases are those of which
// Clang warns.
#include <rs_script_async.hpp>

#include <string>
#include <vector>

using namespace std::chrono_literals;

#ifdef DANGLING_RETURNED_STRING
std::string_view returned(rs::Client &client) {
    const rs::Reply reply = client.command({"PING"});
    return reply.string();
}
#elif defined DANGLING_RETURNED_ELEMENT
rs::ReplyView returned(rs::Client &client) {
    const rs::Reply reply = client.command({"TIME"});
    return reply[0];
}
#elif defined DANGLING_RETURNED_RESULT
const rs::Reply &returned(rs::Client &client) {
    const rs::Result<rs::Reply> reply = client.try_command({"TIME"});
    return reply.value();
}
#endif

void use(rs::Client &client, rs::Script &script) {
    std::vector<std::string> keys{"a"};
    std::vector<std::byte> bytes(3);
    rs::Client moved = std::move(client);
    rs::Reply reply = script.call(moved, keys, {"b"});
    rs::Completion completion(1, rs::Error(RS_ERR_CLOSED, ""));
    rs::Queue queue(1);
    rs::Dispatcher dispatcher(1);
#ifdef COPIED_CLIENT
    rs::Client copy = moved;
#elif defined COPIED_REPLY
    rs::Reply copy = reply;
#elif defined SLICED_REPLY
    rs::detail::View part = reply;
#elif defined STRING_AS_LIST
    script.call(keys, std::string("b"));
#elif defined NUMBER_AS_LIST
    script.call(keys, 5);
#elif defined BYTES_AS_LIST
    script.call(keys, bytes);
#elif defined CLIENT_OF_BRACES
    script.call({"redis://127.0.0.1"}, {"k"}, {"a"});
#elif defined STRINGS_AS_OPTIONS
    moved.command({"GET"}, {"k"});
#elif defined NUMBER_AS_OPTIONS
    script.call({"k"}, {1}, {1});
#elif defined NAME_AS_SCRIPT_OPTIONS
    rs::Script named(moved, "return 1", {"name"});
#elif defined STRING_OF_TEMPORARY
    std::string_view text = script.call(moved, keys, {"b"}).string();
#elif defined ELEMENT_OF_TEMPORARY
    std::string_view text = script.call(moved, keys, {"b"})[0].string();
#elif defined KEPT_ELEMENT
    auto element = script.call(moved, keys, {"b"})[0];
    element.as<int>();
#elif defined ELEMENTS_OF_ELEMENT
    for (rs::ReplyView element : script.call(moved, keys, {"b"})[0]) element.integer();
#elif defined VIEW_OF_TEMPORARY
    rs::ReplyView view = script.call(moved, keys, {"b"});
#elif defined VIEW_OF_MOVED
    rs::ReplyView view = std::move(reply);
#elif defined ITERATOR_OF_TEMPORARY
    auto first = script.call(moved, keys, {"b"}).begin();
#elif defined FORMAT_OF_TEMPORARY
    std::string_view format = script.call(moved, keys, {"b"}).verbatim_format();
#elif defined HANDLE_OF_TEMPORARY
    const rs_reply *handle = script.call(moved, keys, {"b"}).get();
#elif defined HANDLE_OF_CLIENT
    rs_client *handle = rs::Client("redis://127.0.0.1").get();
#elif defined HANDLE_OF_SCRIPT
    const rs_script *handle = rs::Script("return 1").get();
#elif defined HANDLE_OF_QUEUE
    rs_queue *handle = rs::Queue(1).get();
#elif defined HANDLE_OF_PIPELINE
    rs_pipeline *handle = moved.pipeline().get();
#elif defined STRING_THROUGH_ARROW
    std::string_view text = script.try_call(moved, keys, {"b"})->string();
#elif defined STRING_OF_RESULT
    std::string_view text = (*script.try_call(moved, keys, {"b"})).string();
#elif defined STRING_OF_VALUE
    std::string_view text = script.try_call(moved, keys, {"b"}).value().string();
#elif defined STRING_OF_FUTURE
    std::string_view text = dispatcher.call(script, keys, {"b"}).get().string();
#elif defined STRING_OF_COMPLETION
    std::string_view text = std::move(completion).reply().string();
#elif defined ARRIVED_OF_COMPLETION
    rs::ReplyView arrived = std::move(completion).arrived();
#elif defined ARRIVED_OF_PIPELINE
    const rs::Reply &arrived = moved.pipeline().arrived();
#elif defined PIPELINE_OF_TEMPORARY
    rs::Pipeline &pipeline = moved.pipeline().command({"PING"});
#elif defined TEMPORARY_ON
    rs::ScriptOn on = rs::Script("return 1").on(moved);
#elif defined BOOL_AS_ARGUMENT
    script.call(keys, {true});
#elif defined CHAR_AS_ARGUMENT
    script.call(keys, {'x'});
#elif defined NULL_AS_ARGUMENT
    script.call(keys, {nullptr});
#elif defined POINTER_AS_ARGUMENT
    script.call(keys, {&bytes});
#elif defined BOOLS_AS_ARGUMENTS
    script.call(keys, std::vector<bool>(2));
#elif defined OPTIONAL_AS_ARGUMENT
    script.call(keys, {std::optional<int>(5)});
#elif defined VIEW_AS_VALUE
    reply.as<std::string_view>();
#elif defined VIEWS_AS_VALUES
    reply.as<std::vector<std::string_view>>();
#elif defined CHAR_AS_VALUE
    reply.as<char>();
#elif defined NUMBER_AS_TIME
    queue.poll(1, 5);
#elif defined MICROSECONDS
    queue.poll(1, 5us);
#elif defined DONE_OF_NOTHING
    dispatcher.call(script, keys, {"b"}, [] {});
#elif defined IGNORED_RESULT_AS_ERROR
    script.try_call(moved, keys, {"b"});
#elif defined DANGLING_LIST
    const rs::Strings list{"a", std::to_string(5)};
    script.call(keys, list);
#elif defined DANGLING_LIST_OF_RANGE
    const rs::Strings list(std::vector<std::string>{"a"});
    script.call(keys, list);
#elif defined DANGLING_CODE
    const std::string_view code = script.try_call(moved, keys, {"b"}).error().server_code();
    (void)code;
#elif defined DANGLING_OPTIONS
    rs::Options &options = rs::Options().lazy_connect(true);
    options.client_info(false);
#elif defined DANGLING_PIPELINE
    rs::Pipeline &&pipeline = moved.pipeline().command({"PING"});
    pipeline.exec();
#endif
    (void)script.call(moved, keys, {"b", 5})[0].as<std::string>();
    (void)script.try_call(moved, keys, {bytes}).value().as<std::vector<int>>();
    (void)queue.poll(1, 5ms);
}
