_diffyne__worker() {
    local i cur prev opts cmd
    COMPREPLY=()
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        cur="$2"
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
    fi
    prev="$3"
    cmd=""
    opts=""

    for i in "${COMP_WORDS[@]:0:COMP_CWORD}"
    do
        case "${cmd},${i}" in
            ",$1")
                cmd="diffyne__worker"
                ;;
            diffyne__worker,check-config)
                cmd="diffyne__worker__subcmd__check__subcmd__config"
                ;;
            diffyne__worker,help)
                cmd="diffyne__worker__subcmd__help"
                ;;
            diffyne__worker,ps)
                cmd="diffyne__worker__subcmd__ps"
                ;;
            diffyne__worker,ready)
                cmd="diffyne__worker__subcmd__ready"
                ;;
            diffyne__worker,reload)
                cmd="diffyne__worker__subcmd__reload"
                ;;
            diffyne__worker,serve)
                cmd="diffyne__worker__subcmd__serve"
                ;;
            diffyne__worker,settings)
                cmd="diffyne__worker__subcmd__settings"
                ;;
            diffyne__worker,top)
                cmd="diffyne__worker__subcmd__top"
                ;;
            diffyne__worker__subcmd__help,check-config)
                cmd="diffyne__worker__subcmd__help__subcmd__check__subcmd__config"
                ;;
            diffyne__worker__subcmd__help,help)
                cmd="diffyne__worker__subcmd__help__subcmd__help"
                ;;
            diffyne__worker__subcmd__help,ps)
                cmd="diffyne__worker__subcmd__help__subcmd__ps"
                ;;
            diffyne__worker__subcmd__help,ready)
                cmd="diffyne__worker__subcmd__help__subcmd__ready"
                ;;
            diffyne__worker__subcmd__help,reload)
                cmd="diffyne__worker__subcmd__help__subcmd__reload"
                ;;
            diffyne__worker__subcmd__help,serve)
                cmd="diffyne__worker__subcmd__help__subcmd__serve"
                ;;
            diffyne__worker__subcmd__help,settings)
                cmd="diffyne__worker__subcmd__help__subcmd__settings"
                ;;
            diffyne__worker__subcmd__help,top)
                cmd="diffyne__worker__subcmd__help__subcmd__top"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        diffyne__worker)
            opts="-h -V --help --version serve top ps ready reload check-config settings help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__check__subcmd__config)
            opts="-h --config --env-file --worker-listen --app --php-processes --redis-url --worker-token --worker-admin-listen --admin-token --log --demo --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --admin-tokens --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --php-command --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help)
            opts="serve top ps ready reload check-config settings help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__check__subcmd__config)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__ps)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__ready)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__reload)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__serve)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__settings)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__help__subcmd__top)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__ps)
            opts="-w -h --watch --json --config --env-file --worker-listen --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --worker-token --admin-token --admin-tokens --worker-admin-listen --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --app --php-command --php-processes --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-url --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__ready)
            opts="-h --config --env-file --worker-listen --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --worker-token --admin-token --admin-tokens --worker-admin-listen --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --app --php-command --php-processes --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-url --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__reload)
            opts="-h --config --env-file --worker-listen --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --worker-token --admin-token --admin-tokens --worker-admin-listen --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --app --php-command --php-processes --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-url --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__serve)
            opts="-h --config --env-file --worker-listen --app --php-processes --redis-url --worker-token --worker-admin-listen --admin-token --log --demo --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --admin-tokens --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --php-command --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__settings)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        diffyne__worker__subcmd__top)
            opts="-h --once --json --config --env-file --worker-listen --worker-advertise --worker-tls-cert --worker-tls-key --worker-token-legacy --worker-name --worker-threads --demo --demo-listen --demo-control --database --release --worker-concurrency --worker-queue --worker-queue-time --worker-max-answer --worker-drain-timeout --verify-state --lenient-forms --locked --signing-key --app-key --worker-token --admin-token --admin-tokens --worker-admin-listen --status-ttl --ws-max-message-size --max-request-size --debug --upload-listen --upload-dir --upload-bytes --upload-disk-bytes --upload-age --app --php-command --php-processes --php-processes-max --php-max-calls --php-max-memory --php-start-timeout --php-watch --php-ini --php-isolation --php-fork --bridge-kernel --php-cpu-affinity --php-environment --backend-url --backend-socket --backend-connections --fastcgi --fastcgi-script --fastcgi-connections --fastcgi-keep-alive --backend-prefix --patches --tree-cache --tree-cache-age --redis-url --redis-ca --redis-sentinel-password --redis-prefix --redis-timeout --redis-queue --ingress-max --history-length --history-age --history-bytes --log --log-format --log-dir --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --env-file)
                    local oldifs
                    if [ -n "${IFS+x}" ]; then
                        oldifs="$IFS"
                    fi
                    IFS=$'\n'
                    COMPREPLY=($(compgen -f "${cur}"))
                    if [ -n "${oldifs+x}" ]; then
                        IFS="$oldifs"
                    fi
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o filenames
                    fi
                    return 0
                    ;;
                --worker-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-advertise)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token-legacy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-name)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --demo-control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --database)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --release)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-concurrency)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-queue-time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-max-answer)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-drain-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --verify-state)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --lenient-forms)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --locked)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --signing-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-token)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --worker-admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --status-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ws-max-message-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-request-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --debug)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-disk-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --upload-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --app)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-command)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-processes-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-calls)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-max-memory)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-start-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-watch)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-ini)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-isolation)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-fork)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --bridge-kernel)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-cpu-affinity)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --php-environment)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-socket)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-script)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fastcgi-keep-alive)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --backend-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --patches)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tree-cache-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-url)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-sentinel-password)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --redis-queue)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ingress-max)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-length)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-age)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --history-bytes)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
    esac
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _diffyne__worker -o nosort -o bashdefault -o default diffyne-worker
else
    complete -F _diffyne__worker -o bashdefault -o default diffyne-worker
fi
