defmodule Crema.Test do
  @moduledoc """
  For tests of what produces and consumes, mostly without a broker.

      defmodule MyApp.TillTest do
        use ExUnit.Case, async: true
        import Crema.Test

        test "a sale is told of" do
          start_supervised!({Crema.Producer, name: MyApp.Sales, record: true})
          MyApp.Till.sell("espresso", 2)

          assert_produced %{topic: "sales", key: "espresso", value: value}
          assert value == "2"
          refute_produced topic: "refunds"
        end
      end

  A producer (or pool) with `record: true` sends nothing: what is produced by it is recorded, and
  reported as if a broker had it. All else is as with any producer: checks, middleware,
  partitioners, serializers, buffers, transactions, variants, callbacks and events.

  A recording belongs to the test that caused it: to the process that produced it, to those that
  called or started that one (tasks and supervised children of the test), and to the test that has
  allowed one of these (`allow/1`). So `async: true` is safe, also by one producer for all tests. It
  is forgotten when the test ends.

  A message is a map with `:topic`, `:key`, `:value`, `:headers`, `:partition`, `:timestamp`,
  `:offset` and `:producer` (its name or pid), as it would have been sent; one that failed also has
  `:error`.

  Handlers are given made-up messages by `handle/3`, and `start_cluster/1` starts brokers within the VM.
  The whole of it, with faults to order, is told in `docs/testing.md`.
  """

  @typedoc "A recorded message."
  @type message :: map

  @typedoc "Fields as they are given to produce, or a function of the message."
  @type match :: keyword | map | (message -> boolean)

  @doc "What this test has produced: delivered, and committed if it was in a transaction."
  @spec produced() :: [message]
  def produced, do: Enum.map(:crema_test.produced(), &nils/1)

  @doc "Those of them that match."
  @spec produced(match) :: [message]
  def produced(match), do: Enum.map(:crema_test.produced(match(match)), &nils/1)

  @doc "What was part of transactions that were aborted."
  @spec aborted() :: [message]
  def aborted, do: Enum.map(:crema_test.aborted(), &nils/1)

  @doc "What was reported as an error."
  @spec failed() :: [message]
  def failed, do: Enum.map(:crema_test.failed(), &nils/1)

  @doc "What is not reported yet, or part of a transaction that is open."
  @spec pending() :: [message]
  def pending, do: Enum.map(:crema_test.pending(), &nils/1)

  @doc """
  Asserts that a message was produced, and returns it.

  It is given as a pattern, whose variables are bound as by `assert_receive`, or as a keyword list
  of fields. With a time (ms) it waits for one that is yet to come.

      assert_produced %{key: "ada", value: value} when value != nil
      assert_produced [topic: "orders", key: guest.name], 500
  """
  defmacro assert_produced(expected, timeout \\ 0) do
    if fields?(expected) do
      quote do
        expected = Map.new(unquote(expected))
        unquote(__MODULE__).__assert__(expected, inspect(expected), unquote(timeout))
      end
    else
      {pattern, _guarded} = unguarded(expected)

      quote do
        unquote(pattern) =
          unquote(__MODULE__).__assert__(
            unquote(matches(expected)),
            unquote(Macro.to_string(expected)),
            unquote(timeout)
          )
      end
    end
  end

  @doc """
  Asserts that no such message was produced, nor comes within the time (ms).

      refute_produced topic: "refunds"
      refute_produced %{key: nil}, 100
  """
  defmacro refute_produced(unexpected, timeout \\ 0) do
    {given, shown} =
      if fields?(unexpected),
        do: {quote(do: Map.new(unquote(unexpected))), Macro.to_string(unexpected)},
        else: {matches(unexpected), Macro.to_string(unexpected)}

    quote do
      unquote(__MODULE__).__refute__(unquote(given), unquote(shown), unquote(timeout))
    end
  end

  @doc """
  What that process produces is this test's too, and what those produce that it has started: of an
  application's supervisor, what the whole application does. It ends with the test, and raises while
  another test has it.
  """
  @spec allow(GenServer.server()) :: :ok
  def allow(process), do: :crema_test.allow(process)

  @doc "Forgets what this test has produced, and what it has asked for by `fail/2` and `delay/2`."
  @spec reset() :: :ok
  def reset, do: :crema_test.reset()

  @doc """
  Has messages of this test fail, the next one unless that is said.

  With a code of librdkafka's they are reported so; with `:queue_full`, or one of crema's own, the
  whole call is refused.

    * `:times` (1), how many messages, or `:infinity`
    * `:match`, which ones: fields, or a function of the message
    * `:status` (`:not_persisted`), `:possibly_persisted` where the outcome is to be unknown

        fail(:msg_timed_out, times: 2, match: [topic: "orders"], status: :possibly_persisted)
  """
  @spec fail(atom, keyword | map) :: :ok
  def fail(code, opts \\ []), do: :crema_test.fail(code, options(opts))

  @doc "Has messages of this test reported so many milliseconds later: all, or those of the options."
  @spec delay(non_neg_integer, keyword | map) :: :ok
  def delay(millis, opts \\ []), do: :crema_test.delay(millis, options(opts))

  defp options(opts) do
    with %{match: match} = options <- Map.new(opts), do: %{options | match: match(match)}
  end

  defp match(fun) when is_function(fun, 1), do: &fun.(nils(&1))
  defp match(fields), do: Map.new(fields)

  # Null is nil here.
  defp nils(message) do
    message
    |> Map.new(fn {name, value} -> {name, if(value == :undefined, do: nil, else: value)} end)
    |> Map.update!(:headers, fn headers ->
      for {name, value} <- headers, do: {name, if(value == :undefined, do: nil, else: value)}
    end)
  end

  # ---- the cluster ----

  @doc """
  Starts an embedded cluster under the supervisor of the test, with the options of `Crema.Cluster`.

      setup do: start_cluster(topics: %{"orders" => 2})

      test "orders", %{bootstrap_servers: brokers, cluster: cluster} do

  It is stopped when the test ends, or, in a `setup_all`, the tests of the module, behind what was
  started after it. With `:id` there may be several.
  """
  @spec start_cluster(keyword | map) :: %{cluster: pid, bootstrap_servers: binary}
  def start_cluster(opts \\ []) do
    {id, opts} = Map.pop(Map.new(opts), :id, Crema.Cluster)
    spec = Supervisor.child_spec({Crema.Cluster, opts}, id: id)
    cluster = apply(ExUnit.Callbacks, :start_supervised!, [spec])
    %{cluster: cluster, bootstrap_servers: Crema.Cluster.bootstrap_servers(cluster)}
  end

  # ---- handlers ----

  @typedoc "What `handle/3` returns."
  @type handled :: %{
          verdicts: [atom | tuple],
          acked: [offset :: integer],
          produced: [map],
          left: [Crema.Message.t()],
          next: :continue | {:wait, millis :: non_neg_integer} | :stop | :crash,
          state: term,
          messages: [Crema.Message.t()]
        }

  @doc """
  Gives made-up messages to a handler, as a consumer would, but in the process of the test.

      handled = handle(MyApp.OrderHandler, [%{key: "ada", value: "1"}, "2"], retries: 1)
      assert [:ack, {:error, :bad_order}, {:error, :bad_order}] = handled.verdicts
      assert [0] = handled.acked

  A message is a map of `:key`, `:value`, `:headers`, `:timestamp` and `:offset`, or a value alone. A
  handler is whatever a consumer takes; one with `use Crema.Consumer` has the options that it says
  there.

  The options are those of `Crema.Consumer`, none of which is required, and

    * `:topic`, `:partition`, and the `:offset` of the first message
    * `:state`, to begin with that instead of what `init/2` returns
    * `:retries` (0), how often it goes on at once where a consumer would wait

  It returns

    * `:verdicts`, what the handler returned each time, without its state; `{:crash, class, reason}`
      when it raised
    * `:acked`, the offsets that are acknowledged
    * `:left`, the messages that it was not given, or is to be given again
    * `:next`, what a consumer would do now: `:continue`, `{:wait, millis}`, `:stop` or `:crash`
    * `:produced`, what came of the messages with `commit: :exactly_once`
    * `:state`, and `:messages`, all of them, for `assert_acked/2`

  Dead letters are recorded: `assert_produced topic: "orders-dead"`.
  """
  @spec handle(:crema_handler.definition(), [map | keyword | iodata], keyword | map) :: handled
  def handle(handler, messages, opts \\ []) do
    opts = handler_options(handler, Map.new(opts))
    {handler, opts} = Map.pop(opts, :handler, handler)
    :crema_test.handle(handler, Enum.map(messages, &fields/1), Crema.Options.for_elixir(opts))
  end

  defp handler_options(handler, opts) do
    if is_atom(handler) and Code.ensure_loaded?(handler) and
         function_exported?(handler, :__crema_options__, 1),
       do: handler.__crema_options__(opts),
       else: opts
  end

  defp fields(%_{} = message),
    do: message |> Map.take([:key, :value, :headers, :timestamp, :offset])

  defp fields([{name, _} | _] = fields) when is_atom(name), do: Map.new(fields)
  defp fields(other), do: other

  @doc """
  Asserts that a message (or each of several) that `handle/3` has made up is acknowledged, or will be
  within the time (ms).
  """
  @spec assert_acked(map | [map], timeout) :: :ok
  def assert_acked(messages, timeout \\ 0) do
    :crema_test.assert_acked(messages, timeout)
  rescue
    error in ErlangError ->
      case error.original do
        {:not_acked, %{message: message, state: state}} ->
          raise_assertion(
            "This message is not acknowledged, but #{inspect(state)}:\n#{line(message)}"
          )

        _ ->
          reraise error, __STACKTRACE__
      end
  end

  @doc "Asserts that a message is not acknowledged, nor will be within the time (ms)."
  @spec refute_acked(map, timeout) :: :ok
  def refute_acked(message, timeout \\ 0) do
    :crema_test.refute_acked(message, timeout)
  rescue
    error in ErlangError ->
      case error.original do
        {:acked, _} -> raise_assertion("This message is acknowledged:\n#{line(message)}")
        _ -> reraise error, __STACKTRACE__
      end
  end

  @doc "What has become of a message by now: `:waiting`, `:acked` or `{:nacked, reason}`."
  @spec ack_state(map) :: :waiting | :acked | {:nacked, term}
  def ack_state(message), do: :crema_test.ack_state(message)

  # ---- assertions ----

  defp fields?(given), do: given != [] and Keyword.keyword?(given)

  defp unguarded({:when, _, [pattern, guard]}), do: {pattern, guard}
  defp unguarded(pattern), do: {pattern, true}

  # A function that tells whether the pattern matches. Its variables count as used.
  defp matches(expected) do
    {pattern, guard} = unguarded(expected)
    variables = variables(pattern)

    quote generated: true do
      fn
        unquote(pattern) when unquote(guard) ->
          _ = unquote(variables)
          true

        _ ->
          false
      end
    end
  end

  defp variables(pattern) do
    {_, found} =
      Macro.prewalk(pattern, [], fn
        {:^, _, _}, found ->
          {:ok, found}

        {:"::", _, [left, _]}, found ->
          {left, found}

        {:_, _, context} = any, found when is_atom(context) ->
          {any, found}

        {name, _, context} = var, found when is_atom(name) and is_atom(context) ->
          {var, [var | found]}

        other, found ->
          {other, found}
      end)

    found
  end

  @doc false
  @spec __assert__(match, String.t(), timeout) :: message
  def __assert__(match, shown, timeout) do
    nils(:crema_test.assert_produced(match(match), timeout))
  rescue
    error in ErlangError ->
      case error.original do
        {:not_produced, _} ->
          raise_assertion("No message was produced that is\n\n    #{shown}\n\n#{all()}")

        _ ->
          reraise error, __STACKTRACE__
      end
  end

  @doc false
  @spec __refute__(match, String.t(), timeout) :: :ok
  def __refute__(match, shown, timeout) do
    :crema_test.refute_produced(match(match), timeout)
  rescue
    error in ErlangError ->
      case error.original do
        {:produced, %{message: message}} ->
          raise_assertion(
            "A message was produced that is\n\n    #{shown}\n\nIt is\n#{line(nils(message))}"
          )

        _ ->
          reraise error, __STACKTRACE__
      end
  end

  # What there is instead.
  defp all do
    [produced: produced(), failed: failed(), aborted: aborted(), pending: pending()]
    |> Enum.reject(fn {_, messages} -> messages == [] end)
    |> Enum.map_join("\n\n", fn {what, messages} ->
      "These are #{what}:\n" <> Enum.map_join(messages, "\n", &line/1)
    end)
    |> case do
      "" ->
        "This test has produced nothing. What other processes produce is its own if it has started " <>
          "them, if they are tasks of it, or if it says so by allow/1."

      text ->
        text
    end
  end

  defp line(message), do: "    " <> inspect(message, printable_limit: 200, limit: 50)

  # ExUnit is there when tests are run, and need not be for anything else.
  @spec raise_assertion(String.t()) :: no_return
  defp raise_assertion(text),
    do: raise(apply(ExUnit.AssertionError, :exception, [[message: text]]))
end
