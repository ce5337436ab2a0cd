%% What the suites about callbacks share: callbacks that tell this process, and what
%% is left of them.
-module(crema_ct_callbacks).

-export([to/1, held_callback/1, told/0, tolds/1, told_already/0]).
-export([rows/1, settled/1]).
-export([listen/1, deaf/0, logged/0]).
%% of the logger
-export([log/2]).

%% @doc A callback that passes on what it gets.
to(Pid) ->
    fun(Result) -> Pid ! {told, self(), Result} end.

%% @doc A callback that does not return before it is sent go_on.
held_callback(Pid) ->
    fun(_) ->
        Pid ! {told, self(), held},
        receive
            go_on -> ok
        end
    end.

%% @doc What the next callback told, and the reporter that ran it.
told() ->
    hd(tolds(1)).

tolds(0) ->
    [];
tolds(Left) ->
    receive
        {told, Reporter, What} -> [{Reporter, What} | tolds(Left - 1)]
    after 15000 -> error({not_told, Left, crema_ct:state_of_clients()})
    end.

%% @doc What has come by now.
told_already() ->
    receive
        {told, Reporter, What} -> [{Reporter, What} | told_already()]
    after 0 -> []
    end.

%% @doc Callbacks that are under way.
rows(P) ->
    {ok, producer, _, #{callbacks := Callbacks}, _} = crema_registry:lookup(P),
    crema_callbacks:count(Callbacks).

%% @doc All callbacks have been run, and all places are free.
settled(P) ->
    crema_ct:await(fun() ->
        case {rows(P), crema:info(P)} of
            {0, #{uncalled_reports := 0}} -> true;
            Other -> Other
        end
    end).

%% @doc Lines of the log with that level come as {log, Text}, until deaf/0.
listen(Level) ->
    logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self(), level => Level}}).

deaf() ->
    logger:remove_handler(?MODULE).

logged() ->
    receive
        {log, Text} -> [Text | logged()]
    after 0 -> []
    end.

log(#{level := Level} = Event, #{config := #{level := Level, pid := Pid}}) ->
    Pid ! {log, lists:flatten(logger_formatter:format(Event, #{single_line => true}))};
log(_, _) ->
    ok.
