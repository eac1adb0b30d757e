// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>

#include "splashmask/cli/nearest.h"
#include "splashmask/masks/error.h"

namespace splashmask::cli {

namespace {

constexpr size_t kLineWidth = 80;

// Lines of at most `width` characters, broken between words.
std::string Wrapped(const std::string& text, size_t width) {
  std::string wrapped, line;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!line.empty() && line.size() + 1 + word.size() > width) {
      wrapped += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return wrapped + line;
}

// Breaks descriptions that are too long for their column.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    return Wrapped(option->get_description(), kLineWidth - column_width_);
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::stringstream out;
    CLI::detail::format_help(out, command->get_name(),
                             Wrapped(command->get_description(), kLineWidth - column_width_),
                             column_width_);
    return out.str();
  }
};

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::string UnknownOption(const CLI::App& app, const std::string& word) {
  const std::string nearest = Nearest(word.substr(0, word.find('=')), OptionNames(app));
  return fmt::format("unknown option {}{}", word,
                     nearest.empty() ? "" : fmt::format(": did you mean {}?", nearest));
}

std::string UnknownCommand(const CLI::App& app, const std::vector<std::string>& words) {
  const std::vector<std::string> commands = CommandNames(app);
  const std::string expected = fmt::format("expected a command ({})", fmt::join(commands, ", "));
  if (words.empty()) return expected;
  const std::string nearest = Nearest(words.front(), commands);
  return fmt::format("{}, got '{}'{}", expected, words.front(),
                     nearest.empty() ? "" : fmt::format(": did you mean {}?", nearest));
}

/// What is wrong with the arguments, and where help is. A name that nobody knows is told rather
/// than what follows from it.
std::string Explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* named = &app;  // The innermost command or group that was named.
  std::string name = "splashmask";
  while (!named->get_subcommands().empty()) {
    named = named->get_subcommands().front();
    name += " " + named->get_name();
  }
  const std::vector<std::string> unknown = named->remaining();
  const auto option = std::find_if(unknown.begin(), unknown.end(),
                                   [](const std::string& word) { return word.starts_with("-"); });
  std::string problem = error.what();
  if (option != unknown.end()) {
    problem = UnknownOption(*named, *option);
  } else if (!CommandNames(*named).empty()) {
    problem = UnknownCommand(*named, unknown);
  }
  return fmt::format("[arguments] {}\nrun `{} --help` for the arguments and an example", problem,
                     name);
}

int64_t ParseInteger(const std::string& name, const std::string& text, IntegerRange range) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [parsed_to, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range && parsed_to == end) {
    throw CLI::ValidationError(name, fmt::format("expected at most 64 bits, got {}", text));
  }
  if (error != std::errc() || parsed_to != end) {
    throw CLI::ValidationError(name, fmt::format("expected a whole number, got '{}'", text));
  }
  if (value < range.least) {
    throw CLI::ValidationError(name,
                               fmt::format("expected at least {}, got {}", range.least, text));
  }
  if (value > range.most) {
    throw CLI::ValidationError(name, fmt::format("expected at most {}, got {}", range.most, text));
  }
  return value;
}

}  // namespace

void ThrowUnusable(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "[arguments] " + message);
}

void CommandSyntax::Positional(const std::string& name, std::string& value,
                               const std::string& help) {
  app_.add_option(name, value, help)->required()->type_name("");
}

void CommandSyntax::Positional(const std::string& name, std::optional<std::string>& value,
                               const std::string& help) {
  app_.add_option(name, value, help)->type_name("");
}

void CommandSyntax::Positionals(const std::string& name, std::vector<std::string>& values,
                                const std::string& help) {
  // CLI11 itself would take [a, b] apart.
  app_.add_option(name, help)->expected(0)->type_name("...");
  app_.allow_extras()->parse_complete_callback([this_app = &app_, &values] {
    values = this_app->remaining();
    const auto is_option = [](const std::string& word) { return word.starts_with("-"); };
    if (std::ranges::any_of(values, is_option)) throw CLI::ExtrasError(values);
  });
}

void CommandSyntax::Text(const std::string& name, const std::string& type,
                         std::optional<std::string>& value, const std::string& help) {
  app_.add_option(name, value, help)->type_name(type);
}

void CommandSyntax::Texts(const std::string& name, const std::string& type,
                          std::vector<std::string>& values, const std::string& help) {
  // CLI11 itself would take [a, b] apart.
  app_.add_option_function<std::string>(
          name, [&values](const std::string& value) { values.push_back(value); }, help)
      ->trigger_on_parse()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->type_name(type);
}

void CommandSyntax::Choice(const std::string& name, const std::string& type, std::string& value,
                           const std::vector<std::string>& choices, const std::string& help) {
  app_.add_option(name, value, help)
      ->check(CLI::IsMember(choices).description(""))
      ->type_name(type);
}

void CommandSyntax::Choices(const std::string& name, const std::string& type,
                            std::vector<std::string>& values,
                            const std::vector<std::string>& choices, const std::string& help) {
  app_.add_option(name, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(choices).description(""))
      ->type_name(type);
}

void CommandSyntax::Flag(const std::string& name, bool& value, const std::string& help) {
  app_.add_flag(name, value, help);
}

void CommandSyntax::Integers(const std::string& name, std::vector<int64_t>& values,
                             const std::string& help, IntegerRange range) {
  const auto parse = [name, range, &values](const std::string& text) {
    std::vector<int64_t> parsed;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      parsed.push_back(ParseInteger(name, text.substr(begin, end - begin), range));
      begin = end + 1;
    }
    values = std::move(parsed);
  };
  app_.add_option_function<std::string>(name, parse, help)->type_name("LIST");
}

void CommandSyntax::AddInteger(const std::string& name, const std::string& help, IntegerRange range,
                               bool is_required, std::function<void(int64_t)> store) {
  const auto parse = [name, store = std::move(store), range](const std::string& text) {
    store(ParseInteger(name, text, range));
  };
  app_.add_option_function<std::string>(name, parse, help)->type_name("N")->required(is_required);
}

struct CommandLine::Impl {
  CLI::App app;
  std::vector<std::pair<const CLI::App*, Run>> commands;
};

CommandLine::CommandLine(const std::string& help, const std::string& more,
                         const std::string& version)
    : impl_(new Impl{CLI::App(help, "splashmask"), {}}) {
  impl_->app.formatter(std::make_shared<HelpFormatter>());
  impl_->app.footer(more);
  impl_->app.set_version_flag("--version", version);
  impl_->app.require_subcommand(1);
}

CommandLine::~CommandLine() = default;

CommandSyntax CommandLine::Add(const std::string& name, const std::string& help,
                               const std::string& more, Run run) {
  const size_t space = name.find(' ');
  CLI::App& parent =
      space == std::string::npos ? impl_->app : *impl_->app.get_subcommand(name.substr(0, space));
  CLI::App* command = parent.add_subcommand(name.substr(space + 1), help);
  command->footer(more);
  impl_->commands.emplace_back(command, std::move(run));
  return CommandSyntax(*command);
}

void CommandLine::AddGroup(const std::string& name, const std::string& help) {
  CLI::App* const group = impl_->app.add_subcommand(name, help)->require_subcommand(1);
  group->footer("Each of them has its own --help.");
}

CommandLine::Request CommandLine::Parse(int argc, const char* const* argv) {
  CLI::App& app = impl_->app;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success)) {
      return {{}, "", Explain(app, error)};
    }
    std::ostringstream out;  // --help and --version come this way too.
    app.exit(error, out, out);
    return {{}, out.str(), ""};
  }
  for (const auto& [command, run] : impl_->commands) {
    if (command->parsed()) return {run, "", ""};
  }
  return {{}, "", "expected a command"};
}

}  // namespace splashmask::cli
