defmodule Crema.Error do
  @moduledoc """
  What the functions that end in `!` raise.

  It holds the same parts as the `{:error, {code, details}}` of the other functions:

    * `:code`, an atom: one of crema's own or librdkafka's name in lower case
    * `:message`, a sentence for people: the code, what happened, and where
    * `:details`, the whole map of details: where they apply `:retriable`, `:fatal`, `:status`,
      `:topic`, `:partition` and `:field`, and the sentence alone as `:message`

  `inspect/2` shows the sentence; details may hold many messages.

  ## Example

      iex> details = %{message: "Message timed out", topic: "orders"}
      iex> error = Crema.Error.exception({:msg_timed_out, details})
      iex> error.code
      :msg_timed_out
      iex> Exception.message(error)
      "msg_timed_out: Message timed out (topic orders)"
      iex> error.details.topic
      "orders"
      iex> Crema.Error.hint(:msg_timed_out) =~ "message.timeout.ms"
      true
  """
  defexception [:code, :message, details: %{}]

  @type t :: %__MODULE__{code: atom, message: String.t(), details: map}

  @doc "Makes the exception from the `{code, details}` of an error."
  @impl true
  @spec exception({atom, map}) :: t
  def exception({code, %{message: _} = details} = reason),
    do: %__MODULE__{code: code, message: format(reason), details: details}

  def exception({code, details}),
    do: %__MODULE__{code: code, message: Atom.to_string(code), details: details}

  @doc """
  An error as a sentence for people: `{:error, reason}` or the reason alone. Whatever else it is
  given it shows, without secrets.

      iex> Crema.Error.format({:error, {:timeout, %{message: "No report has come in time"}}})
      "timeout: No report has come in time"
  """
  @spec format(term) :: String.t()
  def format(error), do: :crema_error.format(error)

  @doc "What to do about an error, by its code; empty where the code says it all."
  @spec hint(atom) :: String.t()
  def hint(code), do: :crema_error.hint(code)
end
