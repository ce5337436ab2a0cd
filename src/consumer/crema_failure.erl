%% @private What went wrong with a message, and what follows of it: the policies that
%% the options `failures' and `fatal' declare. Pure, but for the random part of a
%% back-off, and the fatal function, which is the user's.
-module(crema_failure).

-export([policies/1, next/3, is_fatal/2, tag/1, text/1]).

-export_type([failure/0, kind/0, policy/0, policies/0, then/0]).

%% `crash': the handler raised, or its process died; `timeout': it took longer
%% than `handler_timeout' and was killed; `returned': it returned an error.
-type kind() :: crash | timeout | returned.

%% What the fatal function gets. `attempts' are those of this message here, this
%% one included; a batch counts by its first message, whose offset it has, and `last'
%% is the offset of its last. `class'
%% and `stacktrace' (without arguments) are those of an exception. `shown' is added
%% for the log afterwards, by the handler's process: exceptions have code of their own.
-type failure() :: #{
    kind := kind(),
    reason := term(),
    topic := binary(),
    partition := non_neg_integer(),
    %% `none' before the first message: init/2 failed
    offset := integer() | none,
    last := integer() | none,
    attempts := pos_integer(),
    class => error | exit | throw,
    stacktrace => list(),
    shown => binary()
}.

%% What follows when the retries are used up. `skip': the message is acknowledged;
%% `dead_letter', `retry_topic': and sent to another topic before; `stop': the
%% consumer stops; `pause': the partition is paused.
-type then() :: skip | dead_letter | retry_topic | stop | pause.
-type policy() :: #{
    retries := non_neg_integer() | infinity,
    backoff := {Min :: pos_integer(), Max :: pos_integer()},
    then := then()
}.
%% By kind, or by tag of the reason; `default' comes last.
-opaque policies() :: [{Match :: atom(), policy()}].

%% No text is longer: it goes into a header.
-define(LONGEST, 200).

%% @doc The policies of parsed options, each with the option `backoff' where it
%% has none of its own. What matches none is tried again for ever.
-spec policies(Options :: map()) -> policies().
policies(#{failures := Given, backoff := Backoff}) ->
    Forever = #{retries => infinity, backoff => Backoff, then => stop},
    [{Match, maps:merge(Forever, Policy)} || {Match, Policy} <- Given] ++ [{default, Forever}].

%% @doc What is to be done about a failure: try again, or what the policy says
%% then; and after how many milliseconds, which concerns another try, and what
%% follows a crash. A message that came from a retry topic is not tried again in
%% its place when another retry topic would be next: the delays are its retries.
-spec next(failure(), From :: source | retry_topic, policies()) ->
    {retry | then(), Delay :: non_neg_integer()}.
next(#{attempts := Attempts} = Failure, From, Policies) ->
    #{retries := Retries, backoff := {Min, Max}, then := Then} = find(Failure, Policies),
    Delayed = Then =:= retry_topic andalso From =:= retry_topic,
    %% Every integer is less than an atom.
    case Attempts =< Retries andalso not Delayed of
        true -> {retry, crema_backoff:delay(Attempts, Min, Max)};
        false -> {Then, crema_backoff:delay(1, Min, Max)}
    end.

-spec find(failure(), policies()) -> policy().
find(#{kind := Kind, reason := Reason}, Policies) ->
    Matches = [Kind, tag(Reason), default],
    {_, Policy} = hd([Row || {Match, _} = Row <- Policies, lists:member(Match, Matches)]),
    Policy.

%% @doc By what a reason can be told from others: an atom, the first element of a
%% tuple if that is an atom, the module of an Elixir exception; `undefined' else.
-spec tag(Reason :: term()) -> atom().
tag(Reason) when is_atom(Reason) -> Reason;
tag(#{'__struct__' := Module}) when is_atom(Module) -> Module;
tag(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
tag(_) -> undefined.

%% @doc Whether a failure is to stop the consumer, by the option `fatal'. A fatal
%% function that raises says no, and is told in the log.
-spec is_fatal(failure(), undefined | fun((failure()) -> boolean()) | {module(), atom(), list()}) ->
    boolean().
is_fatal(_Failure, undefined) ->
    false;
is_fatal(Failure, Fatal) ->
    try call(Fatal, Failure) of
        Answer -> Answer =:= true
    catch
        Class:Reason:Stack ->
            Shown = crema_crash:format(Class, Reason, Stack),
            Format = "crema: the function of the option fatal crashed:~n~ts",
            crema_log:log(error, Format, [Shown], maps:with([topic, partition, offset], Failure)),
            false
    end.

-spec call(fun((failure()) -> term()) | {module(), atom(), list()}, failure()) -> term().
call({Module, Function, Args}, Failure) -> apply(Module, Function, [Failure | Args]);
call(Fun, Failure) -> Fun(Failure).

%% @doc A failure in a few words, without anything of the message: only atoms of
%% the program are in it.
-spec text(failure()) -> binary().
text(#{kind := Kind, reason := Reason} = Failure) ->
    Tag =
        case tag(Reason) of
            undefined -> [];
            Known -> [$\s, crema_input:show(Known)]
        end,
    Text = [atom_to_list(Kind), class(Failure), Tag, place(Failure)],
    string:slice(unicode:characters_to_binary(Text), 0, ?LONGEST).

-spec class(failure()) -> iolist().
class(#{class := Class}) -> [$\s, atom_to_list(Class)];
class(_) -> [].

-spec place(failure()) -> iolist().
place(#{stacktrace := [{Module, Function, Arity, Where} | _]}) when is_integer(Arity) ->
    Line =
        case is_list(Where) andalso proplists:get_value(line, Where) of
            Number when is_integer(Number) -> io_lib:format(" line ~b", [Number]);
            _ -> []
        end,
    [" in ", crema_input:show(Module), io_lib:format(":~0p/~b", [Function, Arity]), Line];
place(_) ->
    [].
