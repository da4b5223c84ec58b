# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_diffyne_worker_global_optspecs
    string join \n h/help V/version
end

function __fish_diffyne_worker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_diffyne_worker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_diffyne_worker_using_subcommand
    set -l cmd (__fish_diffyne_worker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -s V -l version -d 'Print version'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "serve" -d 'Run a worker'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "top" -d 'Show what each PHP process of a running worker does: its call, since when, its memory'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "ps" -d 'List the PHP processes of a running worker: state, call, age, calls, memory, code'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "ready" -d 'Tell whether a running worker is ready for calls: exit status 0, or 1 and why not (for health checks)'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "reload" -d 'Have a running worker replace its PHP processes one by one, and wait until it has (after a deploy)'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "check-config" -d 'Check the settings and print each with its origin; secrets are masked'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "settings" -d 'Print every setting as a Markdown table'
complete -c diffyne-worker -n "__fish_diffyne_worker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l once -d 'Print it once'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -l json -d 'Print it once, as JSON'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand top" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -s w -l watch -d 'Show them again every second'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -l json -d 'Print them as JSON'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ps" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand ready" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand reload" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l app -d 'Directory of a Laravel application whose components are run' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-processes -d 'PHP processes that run calls, at least' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-url -d 'redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l demo -d 'Run the demo\'s components, a counter and a chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-advertise -d 'Address announced in Redis' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-tls-cert -d 'PEM file of this worker\'s certificate chain, for the address' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-tls-key -d 'PEM file of the certificate\'s private key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-token-legacy -d 'refuse or accept' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-name -d 'Name of this worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-threads -d 'Threads that serve gateways' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l demo-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l demo-control -d 'Directory with the ids of the gateways and workers that visi' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l database -d 'SQLite file of the demo chat' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-concurrency -d 'Calls that run side by side' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-queue -d 'Calls that may always wait beyond those' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-queue-time -d 'More may wait, up to 256, while calls are so quick that none' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-max-answer -d 'Largest answer of a call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l worker-drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l verify-state -d 'What must carry a valid signature' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l lenient-forms -d 'In strict mode, accept a call whose state differs by filled-' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l locked -d 'signed' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l signing-key -d 'Signs states' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l status-ttl -d 'How long cache' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l upload-listen -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l upload-dir -d 'Directory in which uploaded files wait for their components' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l upload-disk-bytes -d 'Bytes that all files in that directory may have together, ab' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l upload-age -d 'How long a file waits for its component' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-command -d 'The program that runs PHP, with its first arguments, such as' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-processes-max -d 'PHP processes at most, when calls wait' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-max-calls -d 'Calls after which a PHP process is replaced, give or take a ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-max-memory -d 'Memory above which a PHP process is replaced after its call' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-start-timeout -d 'How long a PHP process may take to boot the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-watch -d 'Files and folders whose changes replace the PHP processes, f' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-ini -d 'PHP settings of the processes' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-isolation -d 'sandbox' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-fork -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l bridge-kernel -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-cpu-affinity -d 'auto' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l php-environment -d 'More environment for the application' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l backend-url -d 'Base URL of an application behind an HTTP server, http' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l backend-socket -d 'Unix socket of that HTTP server' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l backend-connections -d 'Connections to that HTTP server that stay open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l fastcgi -d 'host' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l fastcgi-script -d 'The application\'s front controller as php-fpm sees it, /var/' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l fastcgi-connections -d 'Connections to php-fpm at once, no more than its pm.max_chil' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l fastcgi-keep-alive -d 'Keep connections to php-fpm open' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l backend-prefix -d 'Where that application serves the package\'s AJAX endpoint' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l patches -d 'worker' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l tree-cache -d 'Bytes of HTML that a worker keeps, so that PHP renders once ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l tree-cache-age -d 'How long the worker keeps HTML that no call has used' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l log-format -d 'text or json' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand settings" -s h -l help -d 'Print help'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "serve" -d 'Run a worker'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "top" -d 'Show what each PHP process of a running worker does: its call, since when, its memory'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "ps" -d 'List the PHP processes of a running worker: state, call, age, calls, memory, code'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "ready" -d 'Tell whether a running worker is ready for calls: exit status 0, or 1 and why not (for health checks)'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "reload" -d 'Have a running worker replace its PHP processes one by one, and wait until it has (after a deploy)'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "check-config" -d 'Check the settings and print each with its origin; secrets are masked'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "settings" -d 'Print every setting as a Markdown table'
complete -c diffyne-worker -n "__fish_diffyne_worker_using_subcommand help; and not __fish_seen_subcommand_from serve top ps ready reload check-config settings help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
