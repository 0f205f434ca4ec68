# fish completion for pycoredumpctl(1). tests/cli/test_cli_options.py checks it against the table of options.

complete -c pycoredumpctl -f
set -l verbs list info dump debug stats watch remove vacuum selftest status
set -l matching list info dump debug stats watch remove

complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a list -d 'List crashes, newest last (the default)'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a info -d 'Everything about a crash, by default the newest'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a dump -d 'Write the newest matching core to standard output or a file'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a debug -d 'Open the newest matching core in a debugger'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a stats -d 'What crashes most, and when'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a watch -d 'Follow crashes as they happen'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a remove -d 'Remove the archives of matching crashes'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a vacuum -d 'Remove archives until the limits hold'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a selftest -d 'Crash small programs by every signal and check what is recorded'
complete -c pycoredumpctl -n "not __fish_seen_subcommand_from $verbs" -a status -d 'Whether crashes are caught, and what to do if not'

function __pycoredumpctl_values
    pycoredumpctl list -q --no-pager --field=$argv[1] 2>/dev/null | sort -u
end
complete -c pycoredumpctl -n "__fish_seen_subcommand_from $matching" -a '(__pycoredumpctl_values COREDUMP_PID; __pycoredumpctl_values COREDUMP_COMM)'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from $matching" -a '(__fish_complete_suffix .zst)'

complete -c pycoredumpctl -s h -l help -d 'Show this help'
complete -c pycoredumpctl -l version -d 'Show the version'
complete -c pycoredumpctl -l no-pager -d 'Do not start a pager'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list stats selftest" -l no-legend -d 'Do not print the column headers'
complete -c pycoredumpctl -l json -x -a 'pretty short off' -d 'Print JSON'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from debug" -l debugger -x -a '(__fish_complete_command)' -d 'Use this debugger ($SYSTEMD_DEBUGGER, gdb)'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from debug" -s A -l debugger-arguments -x -d 'Pass these arguments to the debugger'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info stats watch" -s n -x -d 'At most so many (stats: lines of a table)'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info stats watch" -s 1 -d 'The newest, as -r -n 1'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove" -s S -l since -x -d 'Only crashes since then'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove" -s U -l until -x -d 'Only crashes until then'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info" -s F -l field -x -a "(journalctl -N 2>/dev/null | string match 'COREDUMP*')" -d 'Print all values of a journal field'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from dump stats" -s o -l output -r -F -d 'Write there'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from dump" -l range -x -d 'Only these addresses of memory, as raw bytes'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from dump" -l thread -x -d 'Only this thread\'s stack, as raw bytes'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from dump" -l budget -x -d 'A smaller core: about SIZE of memory, stacks first'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove watch" -l file -r -F -d 'Use these journal files'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove watch" -s D -l directory -x -a '(__fish_complete_directories)' -d 'Use the journal files in a directory'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove watch vacuum" -l root -x -a '(__fish_complete_directories)' -d 'Work on the system in this tree'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info" -s r -l reverse -d 'Newest first'
complete -c pycoredumpctl -s q -l quiet -d 'Do not say what might be missing, nor ask'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from list info dump debug stats remove watch" -l all -d 'Entries of other machines, too'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from info" -l all-fields -d 'All fields, whole'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from info" -l debug-dir -x -a '(__fish_complete_directories)' -d 'Analyse again, with debug files from there, too'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from info" -l sysroot -x -a '(__fish_complete_directories)' -d 'Analyse again, with programs and libraries of the system there'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from info" -l debuginfod -d 'Analyse again, with debug files from the servers of $DEBUGINFOD_URLS'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from stats" -l prometheus -d 'Print metrics for node_exporter\'s textfile collector'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from watch" -l exec -x -a '(__fish_complete_command)' -d 'Run this for each crash, its facts in the environment'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from remove vacuum" -s y -l yes -d 'Do not ask'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from remove vacuum" -l dry-run -d 'Only show what would be removed'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from vacuum" -l max-use -x -d 'At most so many bytes of archives'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from vacuum" -l keep-free -x -d 'Free at least so many bytes of the file system'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from vacuum" -l older-than -x -d 'All archives older than this'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from vacuum" -l keep-per-program -x -d 'At most so many archives of a program'
complete -c pycoredumpctl -n "__fish_seen_subcommand_from selftest" -l keep -d 'Leave the archives of the test'
