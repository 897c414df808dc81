# fish completion for atctl and activationd

# Asks atctl, or what stands in its place, with the words as they were typed: nothing of
# the line is carried out.
function __atctl_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct | string replace -r -- '^["\']' '')
    set -l reply (command $words[1] __complete $words[2..-1] "$typed" 2>/dev/null)
    or return
    set -l directive (string sub -s 2 -- $reply[-1])
    set -e reply[-1]
    if test (math "bitand($directive, 64)") -ne 0
        set -l rest $words[(math "1 + "(count $words)" - $reply[1] + 1")..-1]
        complete -C (string join ' ' -- (string escape -- $rest) $typed)
        return
    end
    set -l flag (string match -r -- '^-.*?=' $typed; or echo)
    set -l value (string replace -- $flag '' $typed)
    if test (count $reply) -gt 0
        printf '%s\n' $flag$reply
    else if test (math "bitand($directive, 16)") -ne 0
        printf '%s\n' $flag(__fish_complete_directories $value)
    else if test (math "bitand($directive, 8)") -ne 0
        printf '%s\n' $flag(__fish_complete_path $value)
    end
end

complete -c atctl -e
complete -c atctl -f -k -a '(__atctl_complete)'

complete -c activationd -e
complete -c activationd -f
complete -c activationd -l config -r -F -d 'read the configuration from a file'
complete -c activationd -l state-dir -x -a '(__fish_complete_directories)' -d 'keep state and logs in a directory'
complete -c activationd -l runtime-dir -x -a '(__fish_complete_directories)' -d 'keep the control socket in a directory'
complete -c activationd -l listen -x -d 'also answer on TCP'
complete -c activationd -l atwrap -r -F -d 'the program of the wrapper'
complete -c activationd -l spawn -r -F -d 'the socket of the spawner'
complete -c activationd -l drain -d 'when asked to stop, wait for running scripts'
complete -c activationd -l check-config -r -F -d 'check the configuration and the reservations, and exit'
complete -c activationd -l sql -d 'with --check-config, check the sources that are databases, too'
complete -c activationd -l strict -d 'with --check-config, notices are faults'
complete -c activationd -l schema -x -a 'config reservations' -d 'print a JSON Schema and exit'
complete -c activationd -l version -d 'print the version and exit'
complete -c activationd -l help -d 'print the help and exit'
