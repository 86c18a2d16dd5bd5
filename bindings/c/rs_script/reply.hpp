// rs::Reply, which owns what a server has answered, and rs::ReplyView, which looks at it or at an element.

#ifndef RS_SCRIPT_REPLY_HPP
#define RS_SCRIPT_REPLY_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>

namespace rs {
namespace detail {

// What can be asked of a reply that lends nothing.
class View {
public:
    // Whether there is anything at all; a nil is something.
    explicit operator bool() const noexcept { return reply_ != nullptr; }

    // One of the RS_REPLY_ numbers.
    std::int32_t type() const noexcept { return rs_reply_type(reply_); }

    // Whether it is a nil: Lua `false` and `nil`, a key that does not exist.
    bool is_nil() const noexcept { return type() == RS_REPLY_NIL; }

    // The number of elements of an array, set or map (keys and values both count), the number of bytes of a string.
    std::size_t size() const noexcept { return rs_reply_len(reply_); }

    // The value of an integer, or of a boolean as 1 or 0.
    std::int64_t integer() const noexcept { return rs_reply_integer(reply_); }

    // The value of a boolean, or whether an integer is not 0.
    bool boolean() const noexcept { return integer() != 0; }

    // The value of a double, or of an integer as a double.
    double number() const noexcept { return rs_reply_double(reply_); }

    // An error reply as an Error: of a pipeline's item with the item's index and command in its message, and with what
    // is known of its execution. Empty for all else.
    std::optional<Error> error() const {
        rs_error *error = nullptr;
        if (rs_reply_error(reply_, &error) == RS_OK) return std::nullopt;
        return Error(error);
    }

    // A copy as a value of C++, or an Error that says where something else was found, and what: see
    // rs_script/convert.hpp.
    template <class T> T as() const;
    template <class T> Result<T> try_as() const;

protected:
    View() noexcept = default;
    explicit View(const rs_reply *reply) noexcept : reply_(reply) {}
    View(const View &) noexcept = default;
    View &operator=(const View &) noexcept = default;

    const rs_reply *reply_ = nullptr;
};

} // namespace detail

// A look at a reply or at an element of one; valid until the Reply that it came from goes. Copied freely. No function
// but as fails: 0, false or an empty string is given where the question does not fit, and by a view of nothing.
class ReplyView : public detail::View {
public:
    // A view of nothing: its type is RS_REPLY_NONE.
    ReplyView() noexcept = default;

    // Of a reply of the C library.
    explicit ReplyView(const rs_reply *reply) noexcept : View(reply) {}

    // The bytes of a string, status, error, double, big number or verbatim text; borrowed.
    std::string_view string() const noexcept {
        std::size_t len = 0;
        const char *bytes = rs_reply_string(reply_, &len);
        return bytes ? std::string_view(bytes, len) : std::string_view();
    }

    // The three letters of a verbatim text's format, such as `txt`; borrowed.
    std::string_view verbatim_format() const noexcept {
        const char *format = rs_reply_verbatim_format(reply_);
        return format ? std::string_view(format) : std::string_view();
    }

    // An element of an array, set or map; a view of nothing beyond the end. In a map keys and values take turns.
    ReplyView operator[](std::size_t index) const noexcept { return ReplyView(rs_reply_element(reply_, index)); }

    // The bytes of all elements of an array, set or map, as string() gives them one by one; borrowed.
    std::vector<std::string_view> strings() const {
        constexpr std::size_t some = 64;
        std::vector<std::string_view> strings;
        if (has_elements()) strings.reserve(size());
        const char *bytes[some];
        std::size_t lengths[some];
        while (std::size_t count = rs_reply_strings(reply_, strings.size(), some, bytes, lengths)) {
            for (std::size_t i = 0; i < count; i++)
                strings.push_back(bytes[i] ? std::string_view(bytes[i], lengths[i]) : std::string_view());
        }
        return strings;
    }

    // Goes over the elements of an array, set or map.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag; // it gives values and no references
        using iterator_concept = std::forward_iterator_tag;
        using value_type = ReplyView;
        using difference_type = std::ptrdiff_t;
        using pointer = const ReplyView *;
        using reference = ReplyView;

        iterator() noexcept = default;
        iterator(const rs_reply *parent, std::size_t index) noexcept : parent_(parent), index_(index) {}

        ReplyView operator*() const noexcept { return ReplyView(rs_reply_element(parent_, index_)); }
        iterator &operator++() noexcept { return ++index_, *this; }
        iterator operator++(int) noexcept { return iterator(parent_, index_++); }
        friend bool operator==(iterator a, iterator b) noexcept { return a.index_ == b.index_; }
        friend bool operator!=(iterator a, iterator b) noexcept { return a.index_ != b.index_; }

    private:
        const rs_reply *parent_ = nullptr;
        std::size_t index_ = 0;
    };

    // The first element; equal to end() for what has none.
    iterator begin() const noexcept { return iterator(reply_, 0); }

    // Beyond the last element.
    iterator end() const noexcept { return iterator(reply_, has_elements() ? size() : 0); }

    // The handle, for functions of the C library; borrowed.
    const rs_reply *get() const noexcept { return reply_; }

private:
    bool has_elements() const noexcept {
        const std::int32_t kind = type();
        return kind == RS_REPLY_ARRAY || kind == RS_REPLY_MAP || kind == RS_REPLY_SET;
    }
};

// An element of a reply that has no name: `client.command({"TIME"})[0].as<long>()`. It goes with the reply at the end
// of the expression; so it lends nothing, and can be asked there only and not kept.
class TemporaryView {
public:
    explicit TemporaryView(const rs_reply *reply) noexcept : view_(reply) {}
    TemporaryView(const TemporaryView &) = delete;
    TemporaryView &operator=(const TemporaryView &) = delete;

    // As those of ReplyView.
    explicit operator bool() && noexcept { return static_cast<bool>(view_); }
    std::int32_t type() && noexcept { return view_.type(); }
    bool is_nil() && noexcept { return view_.is_nil(); }
    std::size_t size() && noexcept { return view_.size(); }
    std::int64_t integer() && noexcept { return view_.integer(); }
    bool boolean() && noexcept { return view_.boolean(); }
    double number() && noexcept { return view_.number(); }
    std::optional<Error> error() && { return view_.error(); }
    template <class T> T as() && { return view_.as<T>(); }
    template <class T> Result<T> try_as() && { return view_.try_as<T>(); }
    TemporaryView operator[](std::size_t index) && noexcept {
        return TemporaryView(rs_reply_element(view_.get(), index));
    }

private:
    ReplyView view_;
};

// A reply and all its elements; everything that ReplyView can do, and views of it are valid as long as it lives. What
// is borrowed cannot be taken of a reply without a name, which goes at the end of the expression: name it, or copy out
// of it with as<std::string>().
class Reply : public detail::View {
public:
    // No reply.
    Reply() noexcept = default;

    // Takes ownership of a reply of the C library.
    explicit Reply(rs_reply *reply) noexcept : View(reply), owned_(reply) {}

    Reply(Reply &&other) noexcept : View(std::exchange(other.reply_, nullptr)), owned_(std::move(other.owned_)) {}
    Reply &operator=(Reply &&other) noexcept {
        owned_ = std::move(other.owned_);
        reply_ = owned_.get();
        other.reply_ = other.owned_.get();
        return *this;
    }

    // A look at it.
    ReplyView view() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return ReplyView(reply_); }
    ReplyView view() const && = delete;
    operator ReplyView() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view(); }
    operator ReplyView() const && = delete;

    // As those of ReplyView.
    std::string_view string() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view().string(); }
    std::string_view string() const && = delete;
    std::vector<std::string_view> strings() const & RS_SCRIPT_LIFETIMEBOUND { return view().strings(); }
    std::vector<std::string_view> strings() const && = delete;
    std::string_view verbatim_format() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view().verbatim_format(); }
    std::string_view verbatim_format() const && = delete;
    ReplyView operator[](std::size_t index) const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view()[index]; }
    TemporaryView operator[](std::size_t index) const && noexcept {
        return TemporaryView(rs_reply_element(reply_, index));
    }
    using iterator = ReplyView::iterator;
    iterator begin() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view().begin(); }
    iterator begin() const && = delete;
    iterator end() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return view().end(); }
    iterator end() const && = delete;
    const rs_reply *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return reply_; }
    const rs_reply *get() const && = delete;

private:
    detail::Handle<rs_reply, rs_reply_free> owned_;
};

} // namespace rs

#include <rs_script/convert.hpp>

#endif // RS_SCRIPT_REPLY_HPP
