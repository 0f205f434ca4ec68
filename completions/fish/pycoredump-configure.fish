# fish completion for pycoredump-configure(8). tests/configure/test_configure_completions.py checks it against the parser.

complete -c pycoredump-configure -f
set -l verbs check apply revert

complete -c pycoredump-configure -n "not __fish_seen_subcommand_from $verbs" -a check -d 'Show every setting and whether it is in effect'
complete -c pycoredump-configure -n "not __fish_seen_subcommand_from $verbs" -a apply -d 'Make every setting'
complete -c pycoredump-configure -n "not __fish_seen_subcommand_from $verbs" -a revert -d 'Take back everything that apply did'

complete -c pycoredump-configure -s h -l help -d 'Show this help'
complete -c pycoredump-configure -n "not __fish_seen_subcommand_from $verbs" -l version -d 'Show the version'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from $verbs" -l json -d 'Print JSON'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from $verbs" -l root -x -a '(__fish_complete_directories)' -d 'Work on an image'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from apply revert" -l dry-run -d 'Print the diff, change nothing'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from check apply" -l mode -x -a 'pipe\t"The handler writes the core" file\t"The kernel writes it into /var/core"' -d 'Who writes the core'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from check apply" -l domain -x -a '(__fish_complete_users; __fish_complete_groups | string replace -r "^" "@"; echo "*")' -d 'Whose limit'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from check apply" -l core-limit -x -a 'unlimited 1048576' -d 'The soft limit in KB'
complete -c pycoredump-configure -n "__fish_seen_subcommand_from check apply" -l services -d "Also systemd's DefaultLimitCORE"
