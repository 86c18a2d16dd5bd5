// rs::Pipeline: commands and script calls that are sent together, as a transaction if asked for.

#ifndef RS_SCRIPT_PIPELINE_HPP
#define RS_SCRIPT_PIPELINE_HPP

#include <cstddef>
#include <cstdint>
#include <utility>

#include <rs_script/call_options.hpp>
#include <rs_script/client.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/queue.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/script.hpp>
#include <rs_script/strings.hpp>

namespace rs {

// Commands and script calls to be sent together and answered in order:
//
//     rs::Pipeline pipeline = client.pipeline(); // or client.transaction()
//     pipeline.command({"SET", "foo", 5}).script(multiply, {"foo"}, {5});
//     rs::Reply replies = pipeline.exec(); // OK, 25
//
// Filling it does no I/O and copies what is handed in. It keeps its client open. One thread at a time.
class Pipeline {
public:
    // Takes ownership of a pipeline of the C library.
    explicit Pipeline(rs_pipeline *pipeline) noexcept : handle_(pipeline) {}

    // Appends a command. RS_ERR_COMMAND_REFUSED, and a pipeline as it was, for what would change the shared connection
    // or keep the items behind it waiting. `options`: read_only and idempotent.
    Pipeline &command(const Strings &argv, const CallOptions &options = {}) & RS_SCRIPT_LIFETIMEBOUND {
        return try_command(argv, options).value(), *this;
    }
    Pipeline &&command(const Strings &argv, const CallOptions &options = {}) && RS_SCRIPT_LIFETIMEBOUND {
        return std::move(command(argv, options));
    }
    Result<void> try_command(const Strings &argv, const CallOptions &options = {}) {
        return detail::success_of(options, [&](const rs_call_options *native, rs_error **error) {
            return rs_pipeline_command(get(), argv.size(), argv.data(), argv.lengths(), native, error);
        });
    }

    // Appends a call of a script. It need not be loaded and may go at once. `options`: read_only, idempotent and token.
    Pipeline &script(const Script &script, const Strings &keys, const Strings &args,
                     const CallOptions &options = {}) & RS_SCRIPT_LIFETIMEBOUND {
        return try_script(script, keys, args, options).value(), *this;
    }
    Pipeline &&script(const Script &script, const Strings &keys, const Strings &args,
                      const CallOptions &options = {}) && RS_SCRIPT_LIFETIMEBOUND {
        return std::move(this->script(script, keys, args, options));
    }
    Result<void> try_script(const Script &script, const Strings &keys, const Strings &args,
                            const CallOptions &options = {}) {
        return detail::success_of(options, [&](const rs_call_options *native, rs_error **error) {
            return rs_pipeline_script(get(), script.get(), keys.size(), keys.data(), keys.lengths(), args.size(),
                                      args.data(), args.lengths(), native, error);
        });
    }

    // The number of items.
    std::size_t size() const noexcept { return rs_pipeline_len(handle_.get()); }

    // Whether there are no items.
    bool empty() const noexcept { return size() == 0; }

    // Takes all items out.
    void clear() noexcept { rs_pipeline_clear(handle_.get()); }

    // Sends the items in one write, with a SCRIPT LOAD for each script that the server lacks, and waits for their
    // replies: an array with one element an item, in order. An item's error is its element, see ReplyView::error. The
    // pipeline is empty afterwards, whatever came of it, and can be filled again; where the options are
    // RS_ERR_INVALID_ARGUMENT, it has its items still. `options`: all but read_only.
    //
    // Of a transaction that fails with RS_ERR_TRANSACTION_ABORTED or RS_ERR_COMPILE nothing ran. Beyond what a server
    // provably did not run, nothing is sent again once bytes of it were sent, unless every item may run twice: is
    // read_only, idempotent, or a call of a script that is idempotent or has `once`.
    Reply exec(const CallOptions &options = {}) { return try_exec(options).value(); }
    Result<Reply> try_exec(const CallOptions &options = {}) {
        arrived_ = Reply();
        rs_reply *broken = nullptr;
        Result<Reply> replies =
            detail::reply_of(options, [&](const rs_call_options *native, rs_reply **reply, rs_error **error) {
                const rs_status status = rs_pipeline_exec(handle_.get(), native, reply, error);
                if (status != RS_OK) broken = std::exchange(*reply, nullptr);
                return status;
            });
        arrived_ = Reply(broken);
        return replies;
    }

    // Executes it without waiting: the replies will be in `queue`, under `tag`. An error means that it was not
    // accepted and has no completion: RS_ERR_QUEUE_FULL, or RS_ERR_INVALID_ARGUMENT for a pipeline without items.
    // Empty once it is accepted; with an error it has its items still.
    void submit(const Queue &queue, std::uint64_t tag, const CallOptions &options = {}) {
        try_submit(queue, tag, options).value();
    }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const CallOptions &options = {}) {
        return detail::success_of(options, [&](const rs_call_options *native, rs_error **error) {
            return rs_pipeline_submit(handle_.get(), native, queue.get(), tag, error);
        });
    }

    // When the last exec failed half-way: the replies of its first items, as far as they arrived. Otherwise nothing
    // (false).
    const Reply &arrived() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return arrived_; }
    const Reply &arrived() const && = delete;

    // The handle, for functions of the C library; borrowed.
    rs_pipeline *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    rs_pipeline *get() const && = delete;

private:
    detail::Handle<rs_pipeline, rs_pipeline_free> handle_;
    Reply arrived_;
};

inline Result<Pipeline> Client::try_pipeline(std::uint32_t flags) const {
    rs_pipeline *pipeline = nullptr;
    rs_error *error = nullptr;
    if (rs_pipeline_new(get(), flags, &pipeline, &error) != RS_OK) return Error(error);
    return Pipeline(pipeline);
}

inline Pipeline Client::pipeline(std::uint32_t flags) const { return try_pipeline(flags).value(); }

inline Result<Pipeline> Client::try_transaction(std::uint32_t flags) const {
    return try_pipeline(flags | RS_PIPELINE_ATOMIC);
}

inline Pipeline Client::transaction(std::uint32_t flags) const { return try_transaction(flags).value(); }

} // namespace rs

#endif // RS_SCRIPT_PIPELINE_HPP
