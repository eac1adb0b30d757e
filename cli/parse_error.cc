// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/parse_error.h"

#include <fmt/format.h>

#include <algorithm>

namespace splashmask::cli {

namespace {

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

}  // namespace

std::string ExplainParseError(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> named = app.get_subcommands();
  const CLI::App* command = named.empty() ? nullptr : named.front();
  const std::vector<std::string> unknown = (command ? command : &app)->remaining();
  const auto option = std::find_if(unknown.begin(), unknown.end(),
                                   [](const std::string& word) { return word.starts_with("-"); });
  std::string problem = error.what();
  if (option != unknown.end()) {
    problem = UnknownOption(command ? *command : app, *option);
  } else if (command == nullptr) {
    problem = UnknownCommand(app, unknown);
  }
  return fmt::format("[arguments] {}\nrun `splashmask{} --help` for the arguments and an example",
                     problem, command ? " " + command->get_name() : "");
}

std::string Nearest(const std::string& name, const std::vector<std::string>& known) {
  constexpr size_t kMostUnlike = 2;
  std::string nearest;
  size_t fewest = kMostUnlike + 1;
  for (const std::string& candidate : known) {
    const size_t shorter = std::min(name.size(), candidate.size());
    const auto head = std::mismatch(name.begin(), name.begin() + static_cast<int64_t>(shorter),
                                    candidate.begin());
    const auto alike = static_cast<size_t>(head.first - name.begin());
    const auto tail = std::mismatch(
        name.rbegin(), name.rbegin() + static_cast<int64_t>(shorter - alike), candidate.rbegin());
    const size_t unlike = std::max(name.size(), candidate.size()) - alike -
                          static_cast<size_t>(tail.first - name.rbegin());
    if (unlike < fewest) {
      fewest = unlike;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace splashmask::cli
