# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_diffyne_gateway_global_optspecs
    string join \n h/help V/version
end

function __fish_diffyne_gateway_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_diffyne_gateway_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_diffyne_gateway_using_subcommand
    set -l cmd (__fish_diffyne_gateway_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -s V -l version -d 'Print version'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "serve" -d 'Run a gateway'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "doctor" -d 'Check a set-up, from its settings to a real call; each line says that a part is ok, or what to do'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "bench" -d 'Put load on a gateway or its front: connections, calls and broadcasts; tells each second, and sums up'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "top" -d 'Show what a running gateway and its cluster do: the admin page in a terminal'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "ready" -d 'Tell whether a running gateway is ready for clients: exit status 0, or 1 and why not (for health checks)'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "drain" -d 'Have a running gateway send its clients away and stop, as SIGTERM does, and wait until it has'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "check-config" -d 'Check the settings and print each with its origin; secrets are masked'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "settings" -d 'Print every setting as a Markdown table'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "dev"
complete -c diffyne-gateway -n "__fish_diffyne_gateway_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l url -d 'The address that pages connect to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ca -d 'PEM file of the authority that signed the front\'s certificat' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l idle -d 'Also leave a connection alone for so long, to see whether pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l app -d 'The application\'s directory, to look for what its code needs' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l component -d 'A component to call, App\\Diffyne\\Counter for example' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l method -d 'The method of it that is called, with an empty state' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l all -d 'Look at the settings, Redis and the workers as well'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -l json -d 'Print the findings as JSON, at the end'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l url -d 'The address that pages connect to, as for doctor' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ca -d 'PEM file of the authority that signed the front\'s certificat' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l connections -d 'Clients' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ramp -d 'How long they take to connect, evenly' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l duration -d 'How long to measure after that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l calls -d 'Calls a second, of all clients together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l broadcasts -d 'Broadcasts a second, which every client hears' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l component -d 'A component to call, App\\Diffyne\\Counter for example' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l method -d 'The method that is called' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l params -d 'Its parameters' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l state -d 'The component\'s state' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l plot -d 'Draw the seconds into this SVG file' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l json -d 'Print the summary and all seconds as JSON'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -l yes -d 'The front is on another machine, and it is mine to load'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand bench" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l once -d 'Print it once'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -l json -d 'Print it once, as JSON'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand top" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand ready" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand drain" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l config -d 'TOML file with settings' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l env-file -d 'A .env file, for example the application\'s own' -r -F
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l listen -d 'host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-key -d 'Key that pages connect with' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-cors-origins -d 'Origins that may connect' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l app-url -d 'The application\'s address, with scheme and port' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-url -d 'redis' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l workers -d 'Workers as a comma list of host' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l worker-token -d 'Shared by gateways and workers, which prove it to each other' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l admin-listen -d 'Where /metrics and /ready are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l admin-token -d 'Bearer token for admin requests that change something' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l log -d 'Log level, and levels of parts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-host -d 'Host to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-port -d 'Port to listen on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-path -d 'Path of the WebSocket, beside /' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-cors-methods -d 'Methods that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-cors-headers -d 'Headers that preflight requests of other origins are told' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l route-prefix -d 'Where AJAX calls and the client scripts are served' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ws-max-message-size -d 'Largest message from a browser in bytes' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l compression -d 'Compression of WebSocket messages from 1 KiB on' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-request-size -d 'Largest body of an AJAX call, never less than DIFFYNE_WS_MAX' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l release -d 'Name of this release, the same for everything that is deploy' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l gateway-name -d 'Name of this gateway in the cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l threads -d 'Threads that serve connections' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-connections -d 'Connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-connections-per-address -d 'Connections of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-connections-per-key -d 'Connections with one WebSocket key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l handshake-rate -d 'New WebSocket connections of this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l handshake-queue -d 'New connections of this gateway that wait until a thread has' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l message-rate -d 'Messages of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l call-rate -d 'Calls of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l frame-rate -d 'WebSocket frames of one connection, pings and fragments incl' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l connection-rate -d 'Work that one connection may cause, in bytes a second' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l connection-bytes -d 'Memory that may be held for one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l message-timeout -d 'How long a message may take to arrive, from its first byte o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l idle-timeout -d 'A connection that sends nothing and has no subscription is c' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-connection-age -d 'A connection is asked to reconnect after this time, give or ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l outbox-timeout -d 'How long a client may read nothing while bytes wait for it' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l memory-max -d 'Memory above which this gateway takes no new connections and' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-requests -d 'AJAX calls of this gateway that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-requests-per-address -d 'AJAX calls of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-http-connections-per-address -d 'Connections of one address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l header-timeout -d 'How long a handshake, or the body of an AJAX call, may take ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ping-interval -d 'How often a silent client is pinged' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l outbox-bytes -d 'Bytes that may wait to be written to one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-calls-per-connection -d 'Calls of one connection that run or wait' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-subscriptions -d 'Event names that one connection may subscribe to' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l call-timeout -d 'How long a call may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l slow-call -d 'A call that takes longer is logged with component, method, r' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l stream-timeout -d 'How long a call may take in all while it sends parts of its ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l call-queue -d 'Calls of this gateway that wait for a worker' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l worker-wait -d 'How long a call waits while there is no worker at all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l worker-health -d 'A worker that is asked and does not answer for this time get' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l worker-tls-ca -d 'PEM file of the authority that signed the workers\' certifica' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l shutdown-delay -d 'How long a gateway goes on after SIGTERM, with /ready at 503' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l drain-timeout -d 'How long running calls may take after SIGTERM' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l drain-rate -d 'Clients a second that a stopping gateway sends away, so that' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l subscribe -d 'Who may subscribe to broadcasts' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l identify -d 'When a gateway learns who the user of a WebSocket is, with D' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l grant-life -d 'How long a grant to subscribe is valid' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l broadcast-events -d 'Events that are broadcast to the whole cluster' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l broadcast-rate -d 'Broadcasts of one event name by this gateway' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l publish-wait -d 'How long POST /api/broadcast waits for room when the queue o' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l broadcast-depth -d 'How many broadcasts may cause one another in a chain' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l reaction-rate -d 'Calls a second with which pages should react to one broadcas' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l presence-max-rooms -d 'Rooms that one connection may be in' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l presence-max-members -d 'Users in one room, each counted once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l presence-max-bytes -d 'Bytes of all ids and infos in one room, which every page in ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l presence-grace -d 'How long a user whose connection has ended stays in its room' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l whisper-rate -d 'Whispers of one connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l whisper-bytes -d 'Bytes of the data of a whisper' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l trusted-proxies -d 'Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-For' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l status-key -d 'The whole Redis key of cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l status-db -d 'Redis database of Laravel\'s cache connection' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l status-ttl -d 'How long cache' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l signing-key -d 'Signs states' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l app-key -d 'Laravel\'s key' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l admin-tokens -d 'More such tokens, with names for the log' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l debug -d 'Tell clients the exception, file and line of a failure' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l upload-url -d 'Web server that takes file uploads and shows previews, the a' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l upload-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l upload-bytes -d 'Largest body of an upload' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-uploads -d 'Uploads of this gateway at once' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l max-uploads-per-address -d 'Uploads of one client address' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l upload-timeout -d 'How long an upload or a preview may take in all' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l upload-idle-timeout -d 'How long an upload or a preview may stand still' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-url -d 'Address to which this gateway posts what happens to connecti' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-secret -d 'Secret that these requests are signed with, required with DI' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-ca -d 'PEM file of the authority that signed that server\'s certific' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-timeout -d 'How long such a request may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l lifecycle-listener -d 'PHP class that gets the events instead, in a worker\'s PHP pr' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-events -d 'Events that are told, by webhook or to the listener' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-rooms -d 'Event names whose subscriptions are told of' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-queue -d 'Memory for events that have not been delivered yet' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l webhook-retry -d 'How long the delivery of the same events is tried' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l vacated-after -d 'How long nobody may subscribe to a room before it is told as' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-ca -d 'PEM file of the authority that signed Redis\'s certificate' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-sentinel-password -d 'Password of the Sentinels themselves, if they ask for one' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-prefix -d 'Put before every Redis key and channel' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-timeout -d 'How long one Redis command or connect may take' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l redis-queue -d 'How many broadcasts may wait while Redis is away' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l ingress-max -d 'Events of applications that may wait in the list {diffyne}' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l history-length -d 'How many broadcasts are kept, in Redis and in each gateway, ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l history-age -d 'How old a kept broadcast may be' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l history-bytes -d 'How large all kept broadcasts may be together' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l log-format -d 'text or json' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -l log-dir -d 'Directory for daily log files, whose names have the name of ' -r
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand settings" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand dev" -s h -l help -d 'Print help'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "serve" -d 'Run a gateway'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "doctor" -d 'Check a set-up, from its settings to a real call; each line says that a part is ok, or what to do'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "bench" -d 'Put load on a gateway or its front: connections, calls and broadcasts; tells each second, and sums up'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "top" -d 'Show what a running gateway and its cluster do: the admin page in a terminal'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "ready" -d 'Tell whether a running gateway is ready for clients: exit status 0, or 1 and why not (for health checks)'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "drain" -d 'Have a running gateway send its clients away and stop, as SIGTERM does, and wait until it has'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "check-config" -d 'Check the settings and print each with its origin; secrets are masked'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "settings" -d 'Print every setting as a Markdown table'
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "dev"
complete -c diffyne-gateway -n "__fish_diffyne_gateway_using_subcommand help; and not __fish_seen_subcommand_from serve doctor bench top ready drain check-config settings dev help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
