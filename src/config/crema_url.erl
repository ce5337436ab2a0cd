%% @private Addresses of brokers in the form of a URL, as Heroku writes them.
-module(crema_url).

-export([parse/1]).

-type security() :: tls | plain | none.

%% @doc The brokers of `kafka+ssl://host:port,kafka+ssl://host:port/': whether the
%% schemes ask for TLS (`none' without any), and what `bootstrap_servers' takes.
%% Spaces, line ends and slashes behind an address do no harm.
-spec parse(binary()) -> {ok, security(), Servers :: binary()} | {error, Reason :: binary()}.
parse(Text) ->
    Addresses = [address(Part) || Part <- re:split(Text, "[,\\s]+"), Part =/= <<>>],
    case [Reason || {error, Reason} <- Addresses] of
        [] -> joined(lists:usort([Security || {Security, _} <- Addresses]), Addresses);
        [Reason | _] -> {error, Reason}
    end.

-spec joined([security()], [{security(), binary()}]) ->
    {ok, security(), binary()} | {error, binary()}.
joined([], []) ->
    {error, <<"names no broker">>};
joined([Security], Addresses) ->
    {ok, Security, iolist_to_binary(lists:join($,, [Server || {_, Server} <- Addresses]))};
%% Without a scheme an address is as plain as the others.
joined([none, plain], Addresses) ->
    joined([plain], Addresses);
joined(_, _) ->
    {error, <<"mixes addresses of TLS (kafka+ssl://) and others: one client is secured or not">>}.

-spec address(binary()) -> {security(), binary()} | {error, binary()}.
address(Part) ->
    case re:run(Part, "^(?:([^:/@]*)://)?(.*?)/*$", [{capture, all_but_first, binary}]) of
        %% Not string:lowercase/1: it may be no UTF-8.
        {match, [Scheme, Server]} ->
            address(list_to_binary(string:to_lower(binary_to_list(Scheme))), Server);
        nomatch -> {error, unreadable()}
    end.

-spec address(binary(), binary()) -> {security(), binary()} | {error, binary()}.
address(<<"kafka+ssl">>, Server) -> server(tls, Server);
address(<<"kafka">>, Server) -> server(plain, Server);
address(<<>>, Server) -> server(none, Server);
address(_, _) -> {error, <<"has a scheme other than kafka+ssl:// and kafka://">>}.

%% The reason never shows what may be a password before an at sign.
-spec server(security(), binary()) -> {security(), binary()} | {error, binary()}.
server(Security, Server) ->
    case {binary:match(Server, <<"@">>), crema_option_type:check(servers, Server)} of
        {nomatch, {ok, Checked}} ->
            {Security, Checked};
        {nomatch, {error, _}} ->
            {error, unreadable()};
        _ ->
            {error, <<"has a user's name before an address: give it as sasl.username and "
                "sasl.password under kafka">>}
    end.

-spec unreadable() -> binary().
unreadable() -> <<"has an address that is no host:port">>.
