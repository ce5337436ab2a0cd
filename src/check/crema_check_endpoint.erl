%% @private One server of a diagnosis: whether its name leads anywhere, whether that
%% can be reached, and what answers there. Each step ends by itself in time.
-module(crema_check_endpoint).

-export([check/3, late/1]).

-export_type([server/0, times/0, outcome/0]).

-type server() :: {Host :: binary(), inet:port_number()}.

%% Until when a connection may be made, and until when answers may come.
-type times() :: #{
    connect := crema_deadline:deadline(), answer := crema_deadline:deadline()
}.

-type outcome() :: #{
    server := server(),
    steps := [crema_check_step:step()],
    usable := boolean(),
    mechanisms := unknown | [binary()]
}.

-type found() :: {inet:ip_address(), ok | {error, term()}}.

%% @doc Steps names, tcp, tls and kafka, up to the first that fails.
-spec check(server(), crema_check_security:security(), times()) -> outcome().
check({Given, Port} = Server, Security, Times) ->
    Subject = subject(Server),
    %% An address of IPv6 has brackets; string:trim/3 would fail on what is no UTF-8.
    Host = re:replace(Given, "^\\[|\\]$", "", [global, {return, binary}]),
    case addresses(Host, Security, Times) of
        {ok, Addresses} ->
            Shown = lists:join(", ", [inet:ntoa(Address) || Address <- Addresses]),
            Names = crema_check_step:ok(names, Subject, Shown, #{addresses => Addresses}),
            after_names(Server, Host, Security, Times, Names, reach(Addresses, Port, Times));
        {error, Reason} ->
            outcome(Server, [unresolved(Subject, Host, Reason)])
    end.

%% @doc Of a server that was still being looked at when the time was over.
-spec late(server()) -> outcome().
late(Server) ->
    Message = "not done in time: what answers there does not come to an end",
    Subject = subject(Server),
    outcome(Server, [crema_check_step:failed(kafka, Subject, no_answer, Message)]).

-spec subject(server()) -> binary().
subject({Host, Port}) ->
    <<Host/binary, $:, (integer_to_binary(Port))/binary>>.

-spec outcome(server(), [crema_check_step:step()]) -> outcome().
outcome(Server, Steps) ->
    #{server => Server, steps => Steps, usable => false, mechanisms => unknown}.

-spec after_names(
    server(), binary(), crema_check_security:security(), times(), crema_check_step:step(), [found()]
) -> outcome().
after_names(Server, Host, Security, Times, Names, Found) ->
    Tcp = reached(subject(Server), Found),
    case [Address || {Address, ok} <- Found] of
        [Address | _] ->
            {Steps, Mechanisms} = greet(Server, Host, Address, Security, Times),
            (outcome(Server, [Names, Tcp | Steps]))#{
                usable := not lists:any(fun(#{status := S}) -> S =:= failed end, Steps),
                mechanisms := Mechanisms
            };
        [] ->
            outcome(Server, [Names, Tcp])
    end.

%% A name server that is silent holds up its own process only.
-spec addresses(binary(), crema_check_security:security(), times()) ->
    {ok, [inet:ip_address(), ...]} | {error, term()}.
addresses(Host, #{families := Families}, #{connect := Deadline}) ->
    Name = binary_to_list(Host),
    Found = each(fun(Family) -> inet:getaddrs(Name, Family) end, Families, Deadline),
    case lists:append([Addresses || {_, {ok, Addresses}} <- Found]) of
        [] -> hd([Error || {_, {error, _} = Error} <- Found]);
        Addresses -> {ok, lists:uniq(Addresses)}
    end.

-spec unresolved(binary(), binary(), term()) -> crema_check_step:step().
unresolved(Subject, Host, timeout) ->
    Message = ["the name ", Host, " was not resolved in time: name servers do not answer"],
    crema_check_step:failed(names, Subject, name_servers_silent, Message);
unresolved(Subject, Host, Reason) ->
    Message = ["the name ", Host, " is unknown: ", inet_text(Reason)],
    crema_check_step:failed(names, Subject, unknown_host, Message, #{reason => Reason}).

-spec reach([inet:ip_address()], inet:port_number(), times()) -> [found()].
reach(Addresses, Port, #{connect := Deadline}) ->
    Dial = fun(Address) ->
        case gen_tcp:connect(Address, Port, [], crema_deadline:left(Deadline)) of
            {ok, Socket} -> gen_tcp:close(Socket);
            %% It was taken and closed at once, as balancers do that have nobody behind them.
            {error, econnreset} -> ok;
            Error -> Error
        end
    end,
    each(Dial, Addresses, Deadline).

%% What a function makes of each, in processes of their own, until the deadline.
-spec each(fun((Each) -> Result), [Each], crema_deadline:deadline()) ->
    [{Each, Result | {error, timeout}}].
each(Fun, All, Deadline) ->
    Self = self(),
    Made = [{One, spawn_monitor(fun() -> Self ! {self(), Fun(One)} end)} || One <- All],
    [{One, made(Process, Deadline)} || {One, Process} <- Made].

-spec made({pid(), reference()}, crema_deadline:deadline()) -> term().
made({Pid, Monitor}, Deadline) ->
    receive
        {Pid, Result} ->
            erlang:demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, Pid, Reason} ->
            {error, Reason}
    after crema_deadline:left(Deadline) ->
        true = exit(Pid, kill),
        erlang:demonitor(Monitor, [flush]),
        {error, timeout}
    end.

-spec reached(binary(), [found()]) -> crema_check_step:step().
reached(Subject, Found) ->
    Details = #{addresses => maps:from_list(Found)},
    Reasons = [normal(Reason) || {_, {error, Reason}} <- Found],
    case {lists:keymember(ok, 2, Found), Reasons, lists:member(timeout, Reasons)} of
        {true, [], _} ->
            crema_check_step:ok(tcp, Subject, "connected", Details);
        {true, _, false} ->
            crema_check_step:ok(tcp, Subject, ["connected (", dead(Found), ")"], Details);
        {true, _, true} ->
            Message = ["connected, but clients try each address, and wait: ", dead(Found)],
            crema_check_step:warning(tcp, Subject, Message, Details);
        {false, _, _} ->
            crema_check_step:failed(tcp, Subject, unreached(Reasons), dead(Found), Details)
    end.

-spec unreached([term()]) -> crema_error:code().
unreached(Reasons) ->
    case [C || {R, C} <- codes_of_tcp(), lists:member(R, Reasons)] of
        [Code | _] -> Code;
        [] -> unreachable
    end.

-spec codes_of_tcp() -> [{atom(), crema_error:code()}].
codes_of_tcp() -> [{timeout, firewalled}, {econnrefused, connection_refused}].

%% The system may be quicker to give up.
-spec normal(term()) -> term().
normal(etimedout) -> timeout;
normal(Reason) -> Reason.

-spec dead([found()]) -> iodata().
dead(Found) ->
    lists:join(", ", [
        [inet:ntoa(Address), " ", tcp_text(normal(Reason))]
     || {Address, {error, Reason}} <- Found
    ]).

-spec tcp_text(term()) -> iodata().
tcp_text(timeout) -> "does not answer at all";
tcp_text(econnrefused) -> "refuses the connection";
tcp_text(Reason) -> ["cannot be reached: ", inet_text(Reason)].

-spec inet_text(term()) -> iodata().
inet_text(Reason) when is_atom(Reason) -> inet:format_error(Reason);
inet_text(Reason) -> io_lib:format("~0p", [Reason]).

-spec greet(server(), binary(), inet:ip_address(), crema_check_security:security(), times()) ->
    {[crema_check_step:step()], unknown | [binary()]}.
greet({_, Port} = Server, Host, Address, Security, #{answer := Deadline}) ->
    #{tls := Tls, mechanism := Mechanism} = Security,
    Requests = crema_check_wire:requests(Mechanism),
    case Tls of
        true ->
            Facts = crema_check_tls:ask(Address, Port, Host, Security, Requests, Deadline),
            crema_check_tls:judge(subject(Server), Host, Security, Facts);
        false ->
            Answered = plain(Address, Port, Host, Requests, Deadline),
            crema_check_plain:judge(subject(Server), Security, Answered)
    end.

%% Some servers of TLS close the connection without a word to those who do not speak it.
-spec plain(
    inet:ip_address(), inet:port_number(), binary(), [binary()], crema_deadline:deadline()
) -> crema_check_plain:answered().
plain(Address, Port, Host, Requests, Deadline) ->
    case crema_check_plain:ask(Address, Port, Requests, Deadline) of
        {[], closed} ->
            case crema_check_tls:is_spoken(Address, Port, Host, Deadline) of
                true -> {[], tls};
                false -> {[], closed}
            end;
        Answered ->
            Answered
    end.
