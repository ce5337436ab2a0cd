defmodule Crema.Reader do
  @moduledoc """
  Reading without a group: from where you say to where you say, with nothing committed.

      Crema.stream(bootstrap_servers: "localhost:9092", topic: "orders", from: {:last, 100})
      |> Stream.filter(&(&1.key == "42"))
      |> Enum.take(5)

  `stream/1` makes a lazy enumerable of a topic, and `fold/3` calls a function with each message.
  Those who want the messages one batch after another open a reader:

      {:ok, reader} = Crema.Reader.open(bootstrap_servers: "localhost:9092", topic: "orders")
      {:ok, messages, reader} = Crema.Reader.next(reader)
      :ok = Crema.Reader.close(reader)

  A reader is a value: each call of `next/2` returns the one to go on with. It ends with `close/1`,
  or with the process that has opened it.

  Within a partition messages come in order. A message is a `Crema.Message` without a token:
  there is nothing to acknowledge.

  ## Options

  A keyword list or a map:

    * `:bootstrap_servers` (required, unless `:env` has it), `"host:port,..."` or a list of such
      strings; the port is 9092 where none is given
    * `:topic`, the topic to read: all of its partitions, unless `:partitions` names some
    * `:partitions`, the partitions to read: numbers, or `{topic, partition}`
    * `:from`, where to begin: `:earliest` (the default), `:latest`, an offset,
      `{:timestamp, time}` (milliseconds or a `DateTime`), `{:last, count}`, or a map from partitions
      or `{topic, partition}` to these, such as `positions/1` returns
    * `:to`, where to end, which is not read itself: `:end` (the default: where the partition ended
      when the read began), `:infinity` (go on with what comes), an offset, `{:timestamp, time}`, or
      such a map
    * `:timeout` (30_000 ms), how long to wait for brokers at the start, and for a message before the
      end
    * `:message`, what a message is: `:struct` (the default here), a `Crema.Message`, or `:map`
    * `:null`, what stands for null in messages: `nil` (the default here) or `:undefined`
    * `:batch_messages` (1_000) and `:batch_bytes` (262_144), how much is read at a time
    * `:prefetch` (67_108_864), the bytes that fetched messages may take, of all partitions together
    * `:kafka`, librdkafka's own properties, passed on as they are: a map or a keyword list
    * `:oauth_token`, a function that gets the tokens of SASL OAUTHBEARER (see `Crema.Sasl`);
      `:oauth_timeout` (30_000 ms), how long it may take; `:oauth_backoff` (`{1000, 60_000}` ms),
      the wait before it is called again when it has failed
    * `:env`, environment variables to read at the start, under the options given: `:heroku`,
      `{:heroku, name}` or `{:prefix, name}` (see `Crema.Config`)
    * `:prefix`, what the names of topics begin with; it is added to those that do not
  """

  # Of these the caller wants the whole: what there is and how to go on.
  use Crema.Bang, except: [next: 1, next: 2]

  @typedoc "The options above."
  @type options :: keyword | %{optional(atom) => term}

  @typedoc "An open reader."
  @type t :: :crema_reader.reader()

  @typedoc "The next offset to read of each partition; as the option `:from` they go on from there."
  @type positions :: %{{topic :: binary, partition :: non_neg_integer} => non_neg_integer}

  @typedoc "A message that was read."
  @type message :: Crema.Message.t()

  @doc "Opens a reader. Waits until it is known where each partition begins and ends."
  @spec open(options) :: {:ok, t} | Crema.error()
  def open(opts), do: opts |> to_erlang() |> :crema_reader.open()

  @doc """
  The next messages, of one partition; `:done` when every partition has been read to its end.

  Waits as long as the option `:timeout` says, or, with `to: :infinity`, for as long as nothing comes.
  """
  @spec next(t) :: {:ok, [message, ...], t} | {:done, t} | Crema.error()
  def next(reader), do: :crema_reader.next(reader)

  @doc """
  Like `next/1`, waiting for at most `timeout` milliseconds. After `{:error, {:timeout, _}}` the reader
  is as good as before.
  """
  @spec next(t, timeout) :: {:ok, [message, ...], t} | {:done, t} | Crema.error()
  def next(reader, timeout), do: :crema_reader.next(reader, timeout)

  @doc "Where to go on, when all that this reader has returned is dealt with."
  @spec positions(t) :: positions
  def positions(reader), do: :crema_reader.positions(reader)

  @doc "Closes a reader. One that is closed already is fine."
  @spec close(t) :: :ok
  def close(reader), do: :crema_reader.close(reader)

  @doc """
  The messages as a lazy enumerable.

  Each enumeration connects anew, and closes its connection where it halts. Nothing is fetched but
  what is soon asked for. Raises `Crema.Error` where `fold/3` returns an error.
  """
  @spec stream(options) :: Enumerable.t()
  def stream(opts), do: Stream.resource(fn -> open!(opts) end, &step/1, &close/1)

  defp step(reader) do
    case next(reader) do
      {:ok, messages, next} -> {messages, next}
      {:done, done} -> {:halt, done}
      {:error, reason} -> raise Crema.Error, reason
    end
  end

  @doc """
  Calls `fun` with each message and what it returned before, as `{:ok, acc}`, or as `{:stop, acc}` to
  stop there.

      {:ok, count, positions} =
        Crema.Reader.fold(opts, 0, fn _message, count -> {:ok, count + 1} end)

  `positions`, as the option `:from`, go on from where this has ended. The details of an error that
  comes later than at the start have `:acc` and `:positions`.
  """
  @spec fold(options, acc, (message, acc -> {:ok | :stop, acc})) ::
          {:ok, acc, positions} | Crema.error()
        when acc: term
  def fold(opts, acc, fun) when is_function(fun, 2),
    do: opts |> to_erlang() |> :crema_reader.fold(fun, acc)

  defp to_erlang(opts), do: Crema.Options.for_elixir(opts)
end
